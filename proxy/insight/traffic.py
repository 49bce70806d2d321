"""Hosts, sandboxes, and what passed when."""

from typing import Any

from proxy.insight.overview import Overview
from proxy.insight.table import Answer, Column, Table, moment, size
from proxy.quantity import counted

_NUMBERS = (
    Column("requests", "requests", "count"),
    Column("refused", "refused", "count"),
    Column("bytes_out", "sent", "bytes"),
    Column("bytes_in", "received", "bytes"),
)
_SUMS = (
    "sum(events) FILTER (inside)::BIGINT, coalesce(sum(events) FILTER (inside AND verdict = 'deny'), 0)::BIGINT,"
    " sum(sent) FILTER (inside)::HUGEINT, sum(received) FILTER (inside)::HUGEINT"
)


def totals(seen: Overview) -> Answer:
    """How much there was, in one sentence."""
    ((events, refused, sent, received, sandboxes, hosts),) = seen.ask(
        f"SELECT coalesce(sum(events), 0)::BIGINT, coalesce(sum(events) FILTER (verdict = 'deny'), 0)::BIGINT,"
        " coalesce(sum(sent), 0)::HUGEINT, coalesce(sum(received), 0)::HUGEINT, count(DISTINCT sandbox),"
        f" count(DISTINCT host) FILTER (verdict = 'allow') FROM {seen.main} WHERE inside"
    )
    if not events:
        return Answer(["nothing is on record"], {"totals": {"events": 0}})
    observed = seen.ask(
        f"SELECT coalesce(sum(events), 0)::BIGINT FROM {seen.main}"
        " WHERE inside AND verdict = 'allow' AND reason <> 'allowed'"
    )[0][0]
    lines = [
        f"{counted(events, 'exchange')} of {counted(sandboxes, 'sandbox', 'sandboxes')}, "
        f"{moment(seen.first)} to {moment(seen.last)} UTC"
        if seen.first and seen.last
        else "",
        f"{events - refused:,} passed to {counted(hosts, 'host')}, {refused:,} refused; "
        f"{size(sent)} sent, {size(received)} received",
    ]
    if observed:
        lines.append(f"{observed:,} passed for another reason than a rule, as under `mode: observe`")
    facts = {
        "events": events, "refused": refused, "bytes_out": sent, "bytes_in": received, "sandboxes": sandboxes,
        "hosts": hosts, "observed": observed, "first": seen.first, "last": seen.last,
        "recent_since": seen.recent, "recent_means": seen.why_recent,
    }  # fmt: skip
    return Answer(lines, {"totals": facts})


def hosts(seen: Overview, most: int) -> Table:
    """Hosts by requests; first seen is over all that was read, also before --since."""
    return _grouped(seen, "host", "hosts", "Hosts", most)


def sandboxes(seen: Overview, most: int) -> Table:
    """Sandboxes by requests."""
    return _grouped(seen, "sandbox", "sandboxes", "Sandboxes", most)


def _grouped(seen: Overview, key: str, name: str, title: str, most: int) -> Table:
    usd = ", sum(usd) FILTER (inside)" if key == "sandbox" else ""
    rows = seen.ask(
        f"SELECT coalesce({key}, ''), {_SUMS}{usd}, min(first), max(last) FILTER (inside) FROM {seen.main} GROUP BY ALL"
        f" HAVING bool_or(inside) ORDER BY 2 DESC, 1 LIMIT {most}"
    )
    ((total,),) = seen.ask(f"SELECT count(DISTINCT coalesce({key}, '')) FROM {seen.main} WHERE inside")
    cost = (Column("usd", "cost", "usd"),) if key == "sandbox" else ()
    times = (Column("first", "first seen", "time"), Column("last", "last seen", "time"))
    return Table(name, title, (Column(key, key), *_NUMBERS, *cost, *times), rows, max(0, total - len(rows)))


def rules(seen: Overview, most: int) -> Table:
    """Rules by the exchanges that they decided; what no rule decided is not in it."""
    rows = seen.ask(
        "SELECT rule, policy, coalesce(sum(events) FILTER (inside AND verdict = 'allow'), 0)::BIGINT AS passed,"
        " coalesce(sum(events) FILTER (inside AND verdict = 'deny'), 0)::BIGINT AS refused, min(first),"
        f" max(last) FILTER (inside) FROM {seen.rules} WHERE rule IS NOT NULL GROUP BY 1, 2 HAVING bool_or(inside)"
        " ORDER BY passed + refused DESC, 1, 2"
    )
    columns = (
        Column("rule", "rule"),
        Column("policy", "policy"),
        Column("passed", "passed", "count"),
        Column("refused", "refused", "count"),
        Column("first", "first used", "time"),
        Column("last", "last used", "time"),
    )
    return Table.of("rules", "Rules", columns, rows, most)


def timeline(seen: Overview) -> list[tuple[Any, int, int]]:
    """Hours with the numbers of exchanges that passed and that were refused; hours without any are not in it."""
    return seen.ask(
        f"SELECT hour, coalesce(sum(events) FILTER (verdict = 'allow'), 0)::BIGINT,"
        f" coalesce(sum(events) FILTER (verdict = 'deny'), 0)::BIGINT FROM {seen.hours}"
        " WHERE inside GROUP BY 1 ORDER BY 1"
    )
