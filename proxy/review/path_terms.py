"""Words for paths: terms, each of which says exactly which paths it means."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from proxy.policy.path import PathPattern, folded_segment
from proxy.review.paths import Kind, PathClass
from proxy.review.snippet import path_text

_SEEN, _UNSEEN = "no * is blank", "a * is blank"
_MOST_PAIRS = 10_000
PLAIN, SLASH, DOUBT = frozenset({Kind.PLAIN}), frozenset({Kind.SLASH}), frozenset({Kind.UNREADABLE})


@dataclass(frozen=True, slots=True)
class PathTerm:
    """Paths of some kinds that match all of these patterns: `exact` as allow rules match, `blind` as deny rules do.

    They match none of `unseen` as deny rules do: such a pattern covers an exact one, all but for what it does not see.
    """

    kinds: frozenset[Kind]
    exact: frozenset[PathPattern] = frozenset()
    blind: frozenset[PathPattern] = frozenset()
    unseen: frozenset[PathPattern] = frozenset()

    def means(self, path: PathClass) -> bool:
        matches = self.exact <= path.exact and self.blind <= path.blind
        return path.kind in self.kinds and matches and self.unseen.isdisjoint(path.blind)

    def __and__(self, other: "PathTerm") -> "PathTerm":
        # There are no words for both where one of them leaves something out: no path is of no kind.
        kinds = frozenset[Kind]() if self.unseen | other.unseen else self.kinds & other.kinds
        return PathTerm(kinds, self.exact | other.exact, self.blind | other.blind)

    @property
    def text(self) -> str:
        """A pattern means a path without `%2F` in exactly its spelling, unless more is said."""
        if self.kinds & DOUBT:
            more = "" if self.kinds & SLASH else " for more than %2F"
            return f"paths that servers read differently{more}"
        if not self.exact and not self.blind:
            return "/**" if self.kinds == PLAIN else "paths with %2F"
        slashes = {PLAIN: "", SLASH: "with %2F"}.get(self.kinds, "also with %2F")
        blind = sorted(map(path_text, self.blind))
        if not self.exact:
            slashes = {PLAIN: ", without %2F", SLASH: ", with %2F"}.get(self.kinds, "")
            return f"{blind[0]} (any spelling{slashes})" + _that_is(blind[1:])
        exact = _meet(self.exact)
        if self.unseen:
            return f"{path_text(exact)} ({_UNSEEN})"
        slashes = "" if any(word and "/" in word for word in exact.segments) else slashes
        if len(self.blind) == 1 and self.kinds == PLAIN and (said := _together(exact, *self.blind)):
            return said
        return path_text(exact) + (f" ({slashes})" if slashes else "") + _that_is(blind)


def terms_of_paths(paths: Iterable[PathClass]) -> Iterator[PathTerm]:
    """The plain words for the classes, those that are read most easily first."""
    exact = {(each.kind, pattern) for each in paths for pattern in each.exact}
    blind = {pattern for each in paths for pattern in each.blind}
    yield PathTerm(PLAIN)
    for pattern in sorted({pattern for _, pattern in exact}, key=str):
        one = frozenset({pattern})
        kinds = [kind for kind in (Kind.PLAIN, Kind.SLASH) if (kind, pattern) in exact]
        yield from (PathTerm(frozenset({kind}), one) for kind in kinds)
        if len(kinds) > 1:
            yield PathTerm(PLAIN | SLASH, one)
    yield from _partly_unseen({pattern for kind, pattern in exact if kind is Kind.PLAIN}, blind)
    for pattern in sorted(blind, key=str):
        yield from (PathTerm(kinds, blind=frozenset({pattern})) for kinds in (PLAIN | SLASH, PLAIN, SLASH))
    yield from (PathTerm(SLASH | DOUBT), PathTerm(SLASH), PathTerm(DOUBT))


def _partly_unseen(exact: Iterable[PathPattern], blind: Iterable[PathPattern]) -> Iterator[PathTerm]:
    """The words for what of an exact pattern a deny pattern leaves that covers the rest of it."""
    every = sorted(exact, key=str)
    for pattern in sorted(blind, key=str)[: _MOST_PAIRS // max(len(every), 1)]:
        yield from (
            PathTerm(PLAIN, frozenset({each}), unseen=frozenset({pattern}))
            for each in every
            if _together(each, pattern) == f"{path_text(each)} ({_SEEN})"
        )


def whole_path(path: PathClass) -> PathTerm:
    """The term that says all of a class that can be said without an exception."""
    return PathTerm(frozenset({path.kind}), path.exact, path.blind)


def _that_is(blind: list[str]) -> str:
    return f" that is {' and '.join(blind)} in any spelling" if blind else ""


def _meet(patterns: Iterable[PathPattern]) -> PathPattern:
    """The pattern of the paths that match all of these, of which there are some."""
    every = list(patterns)
    columns = zip_longest(*(each.segments for each in every))
    segments = tuple(next((word for word in column if word is not None), None) for column in columns)
    return PathPattern(segments, all(each.rest for each in every))


def _together(exact: PathPattern, blind: PathPattern) -> str:
    """What matches both as one pattern, of which some words stand for any spelling; empty where that cannot be said.

    In such a pattern a `*` is no segment that deny patterns do not see. `the end` is one behind the last word, or none.
    """
    long, short = len(exact.segments), len(blind.segments)
    ends = exact.rest and not blind.rest
    if not exact.rest and (long < short if blind.rest else long != short):
        return ""
    if ends and long > short:
        return ""
    pairs = list(zip_longest(exact.segments, blind.segments))
    spelled = [there for here, there in pairs if here is None and there is not None]
    seen = any(here is None and there is None for here, there in pairs[:short])
    blank = any(here is None for here, _ in pairs[short:])
    says = [*(path_text(PathPattern((word,)))[1:] for word in spelled), *(["the end"] if ends else [])]
    segments = tuple(there if here is None else here for here, there in pairs)
    named = [folded_segment(word) for word in segments if word is not None]
    if any(named.count(folded_segment(word)) > 1 or not folded_segment(word) for word in spelled):
        return ""
    if blank and (says or seen):
        return ""
    text = path_text(PathPattern(segments, exact.rest and blind.rest))
    if says:
        return f"{text} (any spelling of {', '.join(says)})"
    return f"{text} ({_SEEN})" if seen else text
