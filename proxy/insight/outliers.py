"""What is out of line in an overview: uploads, also slow ones and those in paths, requests in one hour, and cost.

Compared is with what others do: other sandboxes at the same host, other days. A median is not moved by what it is to
reveal.
"""

from collections.abc import Iterator

from proxy.insight.findings import MOST, Finding
from proxy.insight.overview import Overview
from proxy.insight.table import Column, Table, dollars, moment, size
from proxy.quantity import counted

MIN_SENT = 1_000_000  # bytes, below which an upload is none
MIN_COST = 1.0  # dollars
MIN_NAMED = 5_000  # bytes of paths and names of query parameters, beyond what is usual
MIN_BURST = 500  # requests in an hour
PEERS = 4  # sandboxes at one host, from which on they are compared with each other
_RATIO = 5

# Uploads by sandbox and host over the whole window, with what others send to the same host.
_UPLOADS = """
WITH pairs AS (
  SELECT sandbox, host, sum(sent)::HUGEINT AS sent, sum(received)::HUGEINT AS received, sum(events)::BIGINT AS requests,
    count(DISTINCT day) AS days, min(first) AS first, min(example) AS example, bool_or(provider IS NOT NULL) AS model
  FROM {main} WHERE inside AND verdict = 'allow' AND host IS NOT NULL GROUP BY 1, 2
), hosts AS (SELECT host, count(*) AS peers, median(sent) AS usual FROM pairs GROUP BY 1)
SELECT sandbox, host, sent, received, requests, days, peers, usual, first, example, model,
  CASE WHEN peers >= {peers} THEN sent / greatest(usual, 1) END AS ratio FROM pairs JOIN hosts USING (host)
"""


def uploads(seen: Overview, most: int) -> Table:
    """The biggest uploads over the whole window, those first that are out of line."""
    rows = seen.ask(
        f"SELECT sandbox, host, sent, requests, days, usual::DOUBLE, ratio FROM ({_uploads(seen)}) WHERE sent > 0"
        f" ORDER BY {_odd()} DESC, sent DESC, 1, 2 LIMIT {most}"
    )
    ((total,),) = seen.ask(f"SELECT count(*) FROM ({_uploads(seen)}) WHERE sent > 0")
    columns = (
        Column("sandbox", "sandbox"),
        Column("host", "host"),
        Column("bytes_out", "sent", "bytes"),
        Column("requests", "requests", "count"),
        Column("days", "on days", "count"),
        Column("usual", "others send", "bytes"),
        Column("ratio", "times that", "ratio"),
    )
    return Table(
        "uploads", "Biggest uploads", columns, rows, max(0, total - len(rows)), "those first that are out of line"
    )


def _uploads(seen: Overview) -> str:
    return _UPLOADS.format(main=seen.main, peers=PEERS)


def _odd() -> str:
    alone = f"peers < {PEERS} AND NOT model AND sent > 4 * received"
    return f"(sent >= {MIN_SENT} AND (coalesce(ratio >= {_RATIO}, false) OR ({alone})))"


def exfiltration(seen: Overview) -> Iterator[Finding]:
    """Uploads that are out of line, however slow they were."""
    for sandbox, host, sent, requests, days, ratio, usual, first, example in seen.ask(
        f"SELECT sandbox, host, sent, requests, days, ratio, usual, first, example FROM ({_uploads(seen)})"
        f" WHERE {_odd()} ORDER BY sent - coalesce(usual, 0) DESC LIMIT {MOST}"
    ):
        than = (
            "few others go there"
            if ratio is None
            else f"{ratio:,.0f} times what others send there"
            if usual
            else "where others send nothing"
        )
        words = (
            f"{sandbox or 'an unknown client'} sent {size(sent)} to {host}, {than}: "
            f"{counted(requests, 'request')} on {counted(days, 'day')}"
        )
        yield Finding("upload", words, first, example)


def names(seen: Overview) -> Iterator[Finding]:
    """Days on which a sandbox said far more in paths and names of query parameters than is usual at a host."""
    each = (
        "SELECT sandbox, host, day, sum(named) AS named, sum(events)::BIGINT AS requests, min(first) AS first,"
        f" min(example) AS example FROM {seen.main} WHERE inside AND verdict = 'allow' AND host IS NOT NULL"
        " GROUP BY 1, 2, 3"
    )
    for sandbox, host, day, named, requests, usual, example in seen.ask(
        f"WITH each AS ({each}), hosts AS (SELECT host, median(named / requests) AS usual,"
        f" count(DISTINCT sandbox) AS peers FROM each GROUP BY 1)"
        f" SELECT sandbox, host, day, named::BIGINT, requests, usual, example FROM each JOIN hosts USING (host)"
        f" WHERE peers >= {PEERS} AND named >= 2 * usual * requests AND named - usual * requests >= {MIN_NAMED}"
        f" ORDER BY named - usual * requests DESC LIMIT {MOST}"
    ):
        words = (
            f"{sandbox or 'an unknown client'} sent {size(named)} to {host} in paths and names of query parameters on "
            f"{day:%Y-%m-%d}: {named / requests:,.0f} bytes a request, where {usual:,.0f} are usual"
        )
        yield Finding("long paths", words, day, example)


def bursts(seen: Overview) -> Iterator[Finding]:
    """Hours in which a sandbox made far more requests than sandboxes do in one."""
    each = (
        f"SELECT hour, sandbox, sum(events)::BIGINT AS requests, min(example) AS example FROM {seen.hours}"
        " WHERE inside GROUP BY 1, 2"
    )
    for hour, sandbox, requests, usual, example in seen.ask(
        f"WITH each AS ({each}), most AS"
        " (SELECT DISTINCT ON (sandbox) * FROM each ORDER BY sandbox, requests DESC, hour)"
        f" SELECT hour, sandbox, requests, (SELECT median(requests) FROM each) AS usual, example FROM most"
        f" WHERE requests >= {MIN_BURST} AND requests >= {2 * _RATIO} * usual ORDER BY requests DESC LIMIT {MOST}"
    ):
        words = (
            f"{sandbox or 'an unknown client'} made {counted(requests, 'request')} in the hour from {moment(hour)}; "
            f"a sandbox usually makes {usual:,.0f}"
        )
        yield Finding("burst", words, hour, example)


def spikes(seen: Overview) -> Iterator[Finding]:
    """Days on which models cost far more than usual, and sandboxes for which they did."""
    by_day = f"SELECT day, sum(usd) AS usd FROM {seen.main} WHERE inside AND usd IS NOT NULL GROUP BY 1"
    for day, usd, usual in seen.ask(
        f"SELECT day, usd, (SELECT median(usd) FROM ({by_day})) AS usual FROM ({by_day})"
        f" WHERE usd >= {MIN_COST} AND usd >= 3 * usual AND (SELECT count(*) FROM ({by_day})) > 2"
        f" ORDER BY usd DESC LIMIT {MOST}"
    ):
        yield Finding("cost", f"{day:%Y-%m-%d} cost {dollars(usd)}; a usual day costs {dollars(usual)}", day, None)
    each = (
        "SELECT day, sandbox, sum(usd) AS usd, arg_max(model, usd) AS model, arg_max(example, usd) AS example"
        f" FROM {seen.main} WHERE inside AND usd IS NOT NULL GROUP BY 1, 2"
    )
    for day, sandbox, usd, model, example, usual in seen.ask(
        f"SELECT day, sandbox, usd, model, example, (SELECT median(usd) FROM ({each})) AS usual FROM ({each})"
        f" WHERE usd >= {MIN_COST} AND usd >= {2 * _RATIO} * usual ORDER BY usd DESC LIMIT {MOST}"
    ):
        words = (
            f"{sandbox or 'an unknown client'} cost {dollars(usd)} on {day:%Y-%m-%d}, most of it {model}; "
            f"a sandbox usually costs {dollars(usual)} a day"
        )
        yield Finding("cost", words, day, example)
