"""What deserves a look first, found in an overview: what is new, what happened once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from proxy.insight.overview import Overview, stamp
from proxy.insight.table import Column, Table, counted, moment, size

MOST = 5  # of each sort
_NAMES = "list(DISTINCT {0} ORDER BY {0})"


@dataclass(frozen=True, slots=True)
class Finding:
    """One oddity: its sort, in words, since when, and the id of an event of it for `outgate audit show`."""

    sort: str
    words: str
    since: datetime | None
    example: str | None


def as_table(found: list[Finding]) -> Table:
    """Findings as a table."""
    columns = (
        Column("what", "what"),
        Column("words", "look at this first"),
        Column("since", "since", "time"),
        Column("example", "for example"),
    )
    rows = [(each.sort, each.words, each.since, each.example) for each in found]
    return Table("findings", "Look at these first", columns, rows)


def new(seen: Overview) -> Iterator[Finding]:
    """Hosts, methods of known hosts and credentials that were seen for the first time."""
    if seen.recent is None:
        return
    since = stamp(seen.recent)
    yield from _hosts(seen, since)
    yield from _methods(seen, since)
    for name, host, sandboxes, used, first, example in seen.ask(
        f"SELECT credential, {_NAMES.format('host')}, {_NAMES.format('sandbox')}, sum(events)::BIGINT,"
        f" min(first), min(example) FROM {seen.main} WHERE sent_real GROUP BY 1"
        f" HAVING min(first) >= {since} AND sum(events) > 1 ORDER BY 4 LIMIT {MOST}"
    ):
        times = counted(used, "time")
        words = f"the credential {name} was first used {moment(first)}: {times}, at {_few(host)} by {_few(sandboxes)}"
        yield Finding("new credential", words, first, example)


def _hosts(seen: Overview, since: str) -> Iterator[Finding]:
    for host, passed, sandboxes, sent, first, example in seen.ask(
        f"SELECT host, (sum(events) FILTER (verdict = 'allow'))::BIGINT, {_NAMES.format('sandbox')},"
        f" sum(sent)::HUGEINT, min(first), min(example) FILTER (verdict = 'allow') FROM {seen.main}"
        f" WHERE host IS NOT NULL GROUP BY 1 HAVING min(first) >= {since} AND bool_or(verdict = 'allow')"
        f" ORDER BY 4 DESC, 2 DESC LIMIT {MOST}"
    ):
        times = counted(passed, "request")
        words = f"{host} was first reached {moment(first)}: {times} by {_few(sandboxes)}, {size(sent)} sent"
        yield Finding("new host", words, first, example)
    for host, refused, sandboxes, first, example in seen.ask(
        f"SELECT host, sum(events)::BIGINT, {_NAMES.format('sandbox')}, min(first), min(example) FROM {seen.main}"
        f" WHERE host IS NOT NULL GROUP BY 1 HAVING min(first) >= {since} AND bool_and(verdict = 'deny')"
        f" ORDER BY 2 DESC LIMIT {MOST}"
    ):
        words = (
            f"{host} was first asked for {moment(first)}, and refused: {counted(refused, 'time')}, to {_few(sandboxes)}"
        )
        yield Finding("new host, refused", words, first, example)


def _methods(seen: Overview, since: str) -> Iterator[Finding]:
    for host, method, count, sandboxes, first, example in seen.ask(
        f"WITH known AS (SELECT host FROM {seen.main} GROUP BY 1 HAVING min(first) < {since})"
        f" SELECT host, method, sum(events)::BIGINT, {_NAMES.format('sandbox')}, min(first), min(example)"
        f" FROM {seen.main} WHERE verdict = 'allow' AND host IN (FROM known) GROUP BY 1, 2"
        f" HAVING min(first) >= {since} ORDER BY 3 LIMIT {MOST}"
    ):
        words = f"{method} was first used at {host} {moment(first)}: {counted(count, 'time')} by {_few(sandboxes)}"
        yield Finding("new method", words, first, example)


def once(seen: Overview) -> Iterator[Finding]:
    """Credentials that were used once in all that was read."""
    for name, host, sandbox, first, example in seen.ask(
        f"SELECT credential, min(host), min(sandbox), min(first), min(example) FROM {seen.main} WHERE sent_real"
        f" GROUP BY 1 HAVING sum(events) = 1 AND bool_or(inside) ORDER BY 4 DESC LIMIT {MOST}"
    ):
        words = f"the credential {name} was used once, {moment(first)}, at {host} by {sandbox}"
        yield Finding("used once", words, first, example)


def _few(names: list[str | None]) -> str:
    """At most three names, and how many more."""
    shown = ", ".join(name or "an unknown client" for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
