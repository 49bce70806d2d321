"""Path shapes: which segments are ids, and the fewest readable patterns for paths that were seen.

A segment becomes `*` only where several different ids of one kind were seen, and nothing else about the paths differs.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from proxy.policy.path import AmbiguousPath, PathPattern, Segments, read_path
from proxy.review.snippet import path_text

SEVERAL = 3  # different ids at one place that make a `*`
MANY = 50  # paths without a pattern, beyond which a host that is only read gets `/**`

_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.ASCII))
    for kind, pattern in (
        ("number", r"[0-9]+"),
        ("uuid", r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        ("hash", r"(?:(?:sha|md)[0-9]{1,3}[:-])?(?=[A-Fa-f]*[0-9])(?:[0-9a-f]{7,128}|[0-9A-F]{7,128})"),
        ("day", r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?(?:T[0-9:.Z+-]*)?"),
        ("version", r"v[0-9]+|v?[0-9]+(?:\.[0-9]+)+(?:[-+.!~_][0-9A-Za-z.+~_-]*|(?:a|b|rc|dev|post)[0-9]+)?"),
        # msg_01XFDUDYJgAACzvnptvVoYEL, file-abc123DEF456, a ULID: long, of one piece, with letters and digits.
        ("id", r"(?:[a-z]{2,12}[_-])?(?=[A-Za-z]*[0-9][A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{12,}"),
    )
)
_EXTENSION = re.compile(r"(.+)\.(?:[a-z][a-z0-9]{0,7})", re.ASCII)
# A file of one version of a package: name, version, ending, and perhaps what stands beside it (.metadata, .asc).
_ARTIFACT = re.compile(
    r".+[-_]v?[0-9]+(?:\.[0-9]+)*[^/]*\.(?:whl|tar|tgz|gz|bz2|xz|zst|zip|deb|rpm|jar|pom|crate|gem|nupkg|apk|exe|msi|dmg)"
    r"(?:\.[a-z0-9]{1,10})?",
    re.ASCII,
)
_API = re.compile(r"v[0-9]{1,2}", re.ASCII)  # /v1/: an id of nothing that a reader asks for
_FANOUT = re.compile(r"[0-9a-f]{1,4}", re.ASCII)  # the folders that hashes are spread over: /ab/cd/abcd…


def kinds_of(segments: Segments) -> tuple[str | None, ...]:
    """What each segment is: a kind of id, or None for a word."""
    kinds = [_kind(segment) for segment in segments]
    for place in range(len(kinds) - 2, -1, -1):
        if kinds[place + 1] in ("hash", "fanout") and _FANOUT.fullmatch(segments[place]):
            kinds[place] = "fanout"
    return tuple(kinds)


def _kind(segment: str) -> str | None:
    for kind, pattern in _KINDS:
        if pattern.fullmatch(segment):
            return kind
    if _ARTIFACT.fullmatch(segment):
        return "artifact"
    stem = _EXTENSION.fullmatch(segment)
    return None if stem is None else next((k for k, p in _KINDS if k != "number" and p.fullmatch(stem[1])), None)


def shape_of(path: str) -> str:
    """A path with `*` for each segment that looks like an id, to group by. A path that has two readings stays."""
    try:
        segments = read_path(path, keep_encoded_slash=True)
    except AmbiguousPath:
        return path
    pairs = zip(segments, kinds_of(segments), strict=True)
    return path_text(PathPattern(tuple(s if kind is None or _API.fullmatch(s) else None for s, kind in pairs)))


def generalise(paths: Iterable[Segments]) -> list[PathPattern]:
    """Patterns that match all of the paths, sorted, none of them needless."""
    alike: dict[tuple[str, ...], set[Segments]] = defaultdict(set)
    for path in paths:
        # Paths of one group differ in nothing but ids of the same kinds at the same places.
        words = tuple(f"={s}" if kind is None else kind for s, kind in zip(path, kinds_of(path), strict=True))
        alike[words].add(path)
    found: set[tuple[str | None, ...]] = set()
    for kinds, group in alike.items():
        found |= _starred(group, [place for place, kind in enumerate(kinds) if not kind.startswith("=")])
    return _without_needless(PathPattern(segments) for segments in found)


def _starred(group: set[Segments], places: list[int]) -> set[tuple[str | None, ...]]:
    """The paths with `*` at each place where, behind one prefix, several different segments were seen."""
    rows: set[tuple[str | None, ...]] = set(group)
    for place in places:
        behind: dict[tuple[str | None, ...], set[tuple[str | None, ...]]] = defaultdict(set)
        for row in rows:
            behind[row[:place]].add(row)
        rows = set()
        for same in behind.values():
            several = len({row[place] for row in same}) >= SEVERAL
            rows |= {(*row[:place], None, *row[place + 1 :]) if several else row for row in same}
    return rows


def _without_needless(patterns: Iterable[PathPattern]) -> list[PathPattern]:
    every = {pattern.segments for pattern in patterns}
    # Where the stars of a pattern stand; there are few such places, however many patterns there are.
    stars = {(len(row), tuple(place for place, segment in enumerate(row) if segment is None)) for row in every}
    kept = [row for row in every if not any(_wider(row, places) in every for size, places in stars if size == len(row))]
    return sorted(map(PathPattern, kept), key=path_text)


def _wider(row: tuple[str | None, ...], places: tuple[int, ...]) -> tuple[str | None, ...] | None:
    """The pattern with stars at the places too; None if it is the same one, or a star would stand for nothing."""
    if all(row[place] is None for place in places) or any(row[place] == "" for place in places):
        return None
    return tuple(None if place in places else segment for place, segment in enumerate(row))


def fold(patterns: list[PathPattern], many: int = MANY) -> tuple[list[PathPattern], dict[PathPattern, int]]:
    """Replace more than `many` patterns below one prefix by `prefix/**`, at the deepest prefix that has so many.

    Returns the patterns that are left, and how many each new one stands for. Only patterns without `*` count.
    """
    folded: dict[PathPattern, int] = {}
    rest = list(patterns)
    while sum(None not in pattern.segments for pattern in rest) > many:
        prefix = _crowded([pattern.segments for pattern in rest if None not in pattern.segments], many)
        left = [pattern for pattern in rest if pattern.segments[: len(prefix)] != prefix]
        folded[PathPattern(prefix, rest=True)] = len(rest) - len(left)
        rest = left
    return sorted([*rest, *folded], key=path_text), folded


def _crowded(rows: list[tuple[str | None, ...]], many: int) -> tuple[str | None, ...]:
    depth = 0
    while True:
        below: dict[tuple[str | None, ...], list[tuple[str | None, ...]]] = defaultdict(list)
        for row in rows:
            if len(row) > depth + 1:  # the last segment is no prefix of anything
                below[row[: depth + 1]].append(row)
        deeper = max(below.values(), key=len, default=[])
        if len(deeper) <= many:
            return rows[0][:depth]
        rows, depth = deeper, depth + 1
