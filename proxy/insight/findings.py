"""What deserves a look first, found in an overview: what is new, what happened once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from proxy.insight.overview import Overview
from proxy.insight.scan import stamp
from proxy.insight.table import Column, Table, moment, size
from proxy.quantity import counted

MOST = 5  # of each sort
MANY_HOSTS = 10  # that one sandbox asks for and nobody reaches
FEW = 3  # sandboxes that ask for a host that is not everybody's
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
    yield from _elsewhere(seen, since)
    for name, host, sandboxes, used, first, example in seen.ask(
        f"SELECT credential, {_NAMES.format('host')}, {_NAMES.format('sandbox')}, sum(events)::BIGINT,"
        f" min(first), min(example) FROM {seen.main} WHERE sent_real GROUP BY 1"
        f" HAVING min(first) >= {since} AND sum(events) > 1 ORDER BY 4 LIMIT {MOST}"
    ):
        times = counted(used, "time")
        words = f"the credential {name} was first used {moment(first)}: {times}, at {_few(host)} by {_few(sandboxes)}"
        yield Finding("new credential", words, first, example)


def _elsewhere(seen: Overview, since: str) -> Iterator[Finding]:
    """Known credentials at hosts where they were never used."""
    for name, host, count, sandboxes, first, example in seen.ask(
        f"WITH known AS (SELECT credential FROM {seen.main} WHERE sent_real GROUP BY 1 HAVING min(first) < {since})"
        f" SELECT credential, host, sum(events)::BIGINT, {_NAMES.format('sandbox')}, min(first), min(example)"
        f" FROM {seen.main} WHERE sent_real AND credential IN (FROM known) GROUP BY 1, 2"
        f" HAVING min(first) >= {since} ORDER BY 3 LIMIT {MOST}"
    ):
        times = counted(count, "time")
        words = f"the credential {name} was first used at {host} {moment(first)}: {times} by {_few(sandboxes)}"
        yield Finding("new use", words, first, example)


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
        f" AND NOT bool_and(coalesce(sandbox, '') IN (SELECT sandbox FROM ({_searching(seen)})))"
        f" ORDER BY 2 DESC LIMIT {MOST}"
    ):
        words = (
            f"{host} was first asked for {moment(first)}, and refused: {counted(refused, 'time')}, to {_few(sandboxes)}"
        )
        yield Finding("new host, refused", words, first, example)


def _searching(seen: Overview) -> str:
    """Sandboxes that asked for many hosts to which nothing ever passed and that few ask for, far more than others."""
    return (
        f"WITH closed AS (SELECT host FROM {seen.main} WHERE host IS NOT NULL GROUP BY 1"
        f" HAVING bool_and(verdict = 'deny') AND count(DISTINCT sandbox) <= {FEW}),"
        " each AS (SELECT coalesce(sandbox, '') AS sandbox,"
        f" count(DISTINCT host) FILTER (host IN (FROM closed)) AS hosts, min(first) FILTER (host IN (FROM closed))"
        f" AS first, min(example) FILTER (host IN (FROM closed)) AS example FROM {seen.main} WHERE inside GROUP BY 1)"
        f" SELECT *, (SELECT median(hosts) FROM each) AS usual FROM each"
        f" WHERE hosts >= {MANY_HOSTS} AND hosts >= 5 * usual"
    )


def searches(seen: Overview) -> Iterator[Finding]:
    """Sandboxes that try one host after the other."""
    for sandbox, hosts, first, example, usual in seen.ask(f"{_searching(seen)} ORDER BY hosts DESC LIMIT {MOST}"):
        words = (
            f"{sandbox or 'an unknown client'} asked for {hosts:,} hosts that are refused and that few ask for; "
            f"a sandbox usually asks for {usual:,.0f} of these"
        )
        yield Finding("search for hosts", words, first, example)


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
