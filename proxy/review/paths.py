"""Classes of paths: for the path patterns of some rules, one path of every kind that the rules can tell apart.

What a policy does with a path depends on nothing but which patterns it matches, so all that match the same are one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from urllib.parse import quote

from proxy.policy.path import PathPattern
from proxy.review.path_places import NOWHERE, Blind, Patterns, Places, TooLarge

MAX_PATHS = 20_000
UNREADABLE = "/a/../b"


class Kind(IntEnum):
    """How a path can be read: in one way, in two because of an encoded slash, or in none."""

    PLAIN = 1
    SLASH = 2
    UNREADABLE = 3


@dataclass(frozen=True, slots=True, eq=False)
class PathClass:
    """All paths that the rules cannot tell from `target`, which is as it stands on the wire.

    They are those that match these patterns and no other: `exact` as allow rules match, with an encoded slash as those
    that keep it; `blind` as deny rules do, in one of the readings.
    """

    target: str
    kind: Kind = Kind.PLAIN
    exact: frozenset[PathPattern] = frozenset()
    blind: frozenset[PathPattern] = frozenset()

    def asked(self, query: str) -> str:
        """The target of a request for it."""
        return f"{self.target}?{query}" if query else self.target


def path_classes(allow: Iterable[tuple[PathPattern, bool]], deny: Iterable[PathPattern]) -> tuple[PathClass, ...]:
    """The classes for the patterns of allow rules (each with whether its rule keeps `%2F`) and of deny rules.

    Without any pattern there is one class. Raises `TooLarge` beyond `MAX_PATHS`.
    """
    exact, blind = tuple(dict.fromkeys(allow)), tuple(dict.fromkeys(deny))
    if not exact and not blind:
        return (PathClass("/"),)
    every = Patterns(tuple(dict.fromkeys(pattern for pattern, _ in exact)), blind)
    kept = Patterns(tuple(pattern for pattern, keep in exact if keep), blind)
    found: dict[object, PathClass] = {}
    for each in (*_plain(every), *_with_slashes(kept), PathClass(UNREADABLE, Kind.UNREADABLE)):
        found.setdefault((each.kind, each.exact, each.blind), each)
    return tuple(found.values())


class _Found[S]:
    """States in the order in which they were reached, each with words that lead to it."""

    def __init__(self, start: S) -> None:
        self.words: dict[S, tuple[str, ...]] = {start: ()}
        self._queue = [start]

    def reach(self, before: S, state: S, word: str) -> None:
        if state in self.words:
            return
        if len(self.words) >= MAX_PATHS:
            raise TooLarge(f"the path patterns of one host tell more than {MAX_PATHS} kinds of path apart")
        self.words[state] = (*self.words[before], word)
        self._queue.append(state)

    def target(self, state: S) -> str:
        return "/" + "/".join(quote(word, safe="") for word in self.words[state])

    def __iter__(self) -> Iterator[S]:
        yield from self._queue  # which grows meanwhile


def _plain(patterns: Patterns) -> Iterator[PathClass]:
    type State = tuple[bool, Places, Blind]
    found: _Found[State] = _Found((False, patterns.exact, patterns.blind))
    for state in found:
        started, exact, blind = state
        for word in patterns.words(exact, blind[0]):
            found.reach(state, (True, patterns.step(exact, word), patterns.blind_step(blind, word)), word)
        target, slash = found.target(state), "/" if started else ""
        if started:
            yield PathClass(target, Kind.PLAIN, patterns.matched(exact), _denied(patterns, blind))
        exact, blind = patterns.step(exact, ""), patterns.blind_step(blind, "")
        yield PathClass(target + slash, Kind.PLAIN, patterns.matched(exact), _denied(patterns, blind))


def _with_slashes(patterns: Patterns) -> Iterator[PathClass]:
    # Places of exact patterns, of deny patterns in the reading that keeps the slash, and in the one that splits there.
    type State = tuple[bool, Places, Blind, Blind]
    found: _Found[State] = _Found((False, patterns.exact, patterns.blind, patterns.blind))
    for state in found:
        slash, exact, blind, split = state
        for word in patterns.words(exact, blind[0] | split[0]):
            places = patterns.step(exact, word), patterns.blind_step(blind, word), patterns.blind_step(split, word)
            found.reach(state, (slash, *places), word)
        for word, pieces in _slash_words(patterns, patterns.slashed(exact), split):
            found.reach(state, (True, patterns.step(exact, word), patterns.blind_step(blind, word), pieces), word)
        if slash:
            target = found.target(state)
            yield PathClass(target, Kind.SLASH, patterns.matched(exact), _denied(patterns, blind, split))
            exact = patterns.step(exact, "")
            ends = patterns.blind_step(blind, ""), patterns.blind_step(split, "")
            yield PathClass(target + "/", Kind.SLASH, patterns.matched(exact), _denied(patterns, *ends))


def _denied(patterns: Patterns, *readings: Blind) -> frozenset[PathPattern]:
    return patterns.matched(place for reading in readings for places in reading for place in places)


def _slash_words(patterns: Patterns, named: list[str], split: Blind) -> Iterator[tuple[str, Blind]]:
    """Segments with a slash in them, and where each leads the deny patterns if its slashes separate."""
    for word in named:
        places = split
        for piece in word.split("/"):
            places = patterns.split_step(places, piece)
        yield word, places
    reached: set[tuple[bool, Blind]] = set()
    queue: list[tuple[bool, Blind, str]] = [(False, split, "")]
    for begun, places, text in queue:
        for piece in ("", *patterns.words(NOWHERE, places[0])):
            longer = f"{text}/{piece}" if begun else piece
            key = (begun, patterns.split_step(places, piece))
            if key in reached:
                continue
            reached.add(key)
            queue.append((True, key[1], longer))
            if begun:
                yield _unnamed(longer, named), key[1]


def _unnamed(word: str, named: list[str]) -> str:
    """The word, or one that deny rules cannot tell from it, that no exact pattern names."""
    end = word[-1] if word[-1] in "/ " else "."
    return next(each for each in (word + end * times for times in count()) if each not in named)
