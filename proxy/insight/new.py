"""What was never seen before a time: hosts, methods, shapes of paths, credentials.

What counts is when an event was written, which is when its exchange ended: a tunnel that began before the last review
and ended after it could not be seen then.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from proxy.insight.logs import Logs
from proxy.insight.overview import Wanted
from proxy.insight.scan import NOT_OURS, Scan, Since
from proxy.insight.table import Answer, Column, Table, moment
from proxy.quantity import counted
from proxy.review.shapes import shape_of

MOST = 50  # rows of a table
MAX_PATHS = 100_000  # paths of which shapes are made; more are counted

# Segments that `shape_of` makes a star of anyway are made alike before they are counted: few paths are left.
_ALIKE = (
    (r"/[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(/|$)", r"/00000000-0000-0000-0000-000000000000\1"),
    (r"/[0-9]{5,}(/|$)", r"/00000\1"),
    (r"/[0-9]{1,4}(/|$)", r"/0\1"),  # before a hash, a folder that hashes are spread over
    (r"/(?:[0-9][0-9a-f]|[a-f][0-9])[0-9a-f]{14,120}(/|$)", r"/0000000a\1"),
)
_PLAIN_PATH = "(/[A-Za-z0-9_-][A-Za-z0-9._~-]*)+/?"  # it has one reading; others `shape_of` leaves as they are
_TIMES = (
    Column("requests", "requests", "count"),
    Column("refused", "refused", "count"),
    Column("sandboxes", "sandboxes", "list"),
    Column("first", "first", "time"),
    Column("example", "for example"),
)
_SUMS = (
    "sum(events)::BIGINT, coalesce(sum(events) FILTER (verdict = 'deny'), 0)::BIGINT,"
    " list(DISTINCT sandbox ORDER BY sandbox), min(first), min(example)"
)


def place_sql() -> str:
    """The path as SQL, with ids of the plainest kinds made alike; its shape is the same."""
    sql = "path"
    for pattern, replacement in (each for each in _ALIKE for _ in range(2)):  # neighbours share a slash
        sql = f"regexp_replace({sql}, '{pattern}', '{replacement}', 'g')"
    return f"CASE WHEN regexp_full_match(path, '{_PLAIN_PATH}') THEN {sql} ELSE path END"


def new(logs: Logs, wanted: Wanted, since: datetime | None, most: int = MOST) -> Answer:
    """What is on record since then and not before. Without a time, all is new."""
    keys = {"host": "host", "method": "method", "used": "CASE WHEN injected THEN credential END"}
    keys |= {"verdict": "verdict", "sandbox": "sandbox", "policy": "policy", "place": place_sql()}
    sets = {
        "main": ["used", "method", "host", "verdict", "sandbox", "policy"],
        "paths": ["place", "host", "method", "verdict", "sandbox", "policy"],
    }
    sums = {"first": "min(time)", "example": "min(id)", "latest": "max(recorded)"}
    # What was on record at that very time was seen.
    fresh = Since("fresh", "recorded", since and since + timedelta(microseconds=1))
    scan = logs.scan(Scan(keys, sets, sums, NOT_OURS, fresh, wanted.chosen))
    ((events, latest),) = logs.ask(
        f"SELECT coalesce(sum(events), 0)::BIGINT, max(latest) FROM {scan} WHERE part = 'main' AND fresh"
    )
    until = f"since {moment(since)} UTC" if since else "since the beginning"
    answer = Answer([f"{counted(events, 'exchange')} on record {until}"], {"since": since, "until": latest})
    if events:
        answer.tables = [*(_plain(logs, scan, each, most) for each in _PLAIN), _paths(logs, scan, most)]
    return answer


@dataclass(frozen=True, slots=True)
class _Plain:
    """A table of what is new: columns by title, as SQL, and the condition for what is looked at."""

    key: str
    title: str
    columns: Mapping[str, str]
    where: str


_KNOWN_HOST = "host IN (SELECT host FROM {scan} WHERE part = 'main' AND NOT fresh)"
_PLAIN = (
    _Plain("hosts", "New hosts", {"host": "host"}, "host IS NOT NULL"),
    _Plain("methods", "New methods of known hosts", {"host": "host", "method": "method"}, _KNOWN_HOST),
    _Plain(
        "credentials",
        "Credentials at hosts where they were never used",
        {"credential": "used", "host": "coalesce(host, '')"},
        "used IS NOT NULL",
    ),
)


def _plain(logs: Logs, scan: str, asked: _Plain, most: int) -> Table:
    width = len(asked.columns)
    found = (
        f"SELECT {', '.join(asked.columns.values())}, {_SUMS} FROM {scan} WHERE part = 'main'"
        f" AND {asked.where.format(scan=scan)} GROUP BY {', '.join(map(str, range(1, width + 1)))}"
        " HAVING bool_and(fresh)"
    )
    rows = logs.ask(f"{found} ORDER BY bool_or(verdict = 'allow') DESC, {width + 1} DESC, 1 LIMIT {most}")
    ((total,),) = logs.ask(f"SELECT count(*) FROM ({found})")
    columns = (*(Column(column, column) for column in asked.columns), *_TIMES)
    return Table(asked.key, asked.title, columns, rows, total - len(rows))


def _paths(logs: Logs, scan: str, most: int) -> Table:
    """New shapes of paths at known hosts; those of new hosts are new anyway."""
    candidates = (
        f"SELECT host, method, place, {_SUMS} FROM {scan} WHERE part = 'paths'"
        f" AND {_KNOWN_HOST.format(scan=scan)} AND place <> ''"
        " GROUP BY 1, 2, 3 HAVING bool_and(fresh)"
    )
    found = logs.ask(f"{candidates} ORDER BY 4 DESC, 1, 2, 3 LIMIT {MAX_PATHS}")
    ((total,),) = logs.ask(f"SELECT count(*) FROM ({candidates})")
    shapes: dict[tuple[str, str, str], list[Any]] = {}
    for host, method, place, count, refused, sandboxes, first, example in found:
        entry = shapes.setdefault((host, method, shape_of(place)), [0, 0, set(), first, example])
        entry[0], entry[1] = entry[0] + count, entry[1] + refused
        entry[2] |= set(sandboxes)
        entry[3], entry[4] = min(entry[3], first), min(entry[4], example)
    known = _known(logs, scan, shapes)
    fresh = {key: entry for key, entry in shapes.items() if key not in known}
    rows = [
        (*key, entry[0], entry[1], sorted(name or "" for name in entry[2]), entry[3], entry[4])
        for key, entry in sorted(fresh.items(), key=lambda item: (-item[1][0], item[0]))
    ]
    about = f"{counted(total - len(found), 'path')} too many to look at" if total > len(found) else ""
    columns = (Column("host", "host"), Column("method", "method"), Column("path", "path"), *_TIMES)
    return Table.of("paths", "New shapes of paths at known hosts", columns, rows, most, about)


def _known(logs: Logs, scan: str, shapes: dict[tuple[str, str, str], list[Any]]) -> set[tuple[str, str, str]]:
    """Which of the shapes were there before."""
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for host, method, shape in shapes:
        wanted[host, method].add(shape)
    known = set()
    for (host, method), asked in wanted.items():
        for (place,) in logs.ask(
            f"SELECT DISTINCT place FROM {scan} WHERE part = 'paths' AND NOT fresh AND host = ? AND method = ?",
            (host, method),
        ):
            shape = shape_of(place)
            if shape in asked:
                known.add((host, method, shape))
    return known
