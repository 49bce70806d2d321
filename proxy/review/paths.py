"""Classes of paths: for the path patterns of some rules, one path of every kind that the rules can tell apart.

The patterns run side by side, as the sets of places that they can be at after each segment; each set that can be
reached is one class. A deny pattern is blind to case, so a literal of its has a second class: spelled differently.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count, islice
from urllib.parse import quote

from proxy.policy.path import PathPattern, folded_segment

MAX_PATHS = 20_000
MAX_FORMS = 64
MAX_STEPS = 4_000_000
UNREADABLE = "/a/../b"
DOTS = "..."  # in a form: a segment of which deny rules see nothing

type _Places = frozenset[tuple[int, int]]  # the number of a pattern, and how many of its segments are matched
# Deny patterns see nothing of a last segment that folds to nothing: the second are the places before such a one.
type _Blind = tuple[_Places, _Places]
type _Words = tuple[str, ...]
type _Form = tuple[str | None, ...]

_NOWHERE: _Places = frozenset()
_LOST: _Blind = (_NOWHERE, _NOWHERE)


class TooLarge(Exception):
    """There are more classes than can be compared. The text says of what."""


class Kind(IntEnum):
    """How a path can be read: in one way, in two because of an encoded slash, or in none."""

    PLAIN = 1
    SLASH = 2
    UNREADABLE = 3


@dataclass(frozen=True, slots=True, eq=False)
class PathClass:
    """All paths that the rules cannot tell from `target`, which is as it stands on the wire.

    `forms` describe the class as patterns; each path of the class is matched by one of them. `other`: no pattern can
    match here, or go on to match, so the class has no form of its own.
    """

    target: str
    kind: Kind = Kind.PLAIN
    forms: tuple[PathPattern, ...] = ()
    other: bool = False

    def asked(self, query: str) -> str:
        """The target of a request for it."""
        return f"{self.target}?{query}" if query else self.target


def path_classes(allow: Iterable[tuple[PathPattern, bool]], deny: Iterable[PathPattern]) -> tuple[PathClass, ...]:
    """The classes for the patterns of allow rules (each with whether its rule keeps `%2F`) and of deny rules.

    Without any pattern there is one class. Raises `TooLarge` beyond `MAX_PATHS`.
    """
    exact, blind = tuple(dict.fromkeys(allow)), tuple(dict.fromkeys(deny))
    if not exact and not blind:
        return (PathClass("/", other=True),)
    every = _Patterns(tuple(dict.fromkeys(pattern for pattern, _ in exact)), blind)
    kept = _Patterns(tuple(pattern for pattern, keep in exact if keep), blind)
    return (*_plain(every), *_with_slashes(kept), PathClass(UNREADABLE, Kind.UNREADABLE, other=True))


class _Moves:
    """Where some places lead: for each literal that one of them wants, and for every other segment."""

    def __init__(self, patterns: "_Patterns", places: _Places) -> None:
        self.literal: dict[str, set[tuple[int, int]]] = {}
        always, rest = set(), set()
        for number, done in places:
            wants = patterns.wants[number]
            if done == len(wants):
                if patterns.rests[number]:
                    rest.add((number, done))
            elif (want := wants[done]) is None:
                always.add((number, done + 1))
            else:
                self.literal.setdefault(want, set()).add((number, done + 1))
        self.empty: _Places = frozenset(rest)  # a `*` never stands for an empty segment
        self.other: _Places = frozenset(always | rest)

    def to(self, segment: str) -> _Places:
        places = self.other if segment else self.empty
        return places | more if (more := self.literal.get(segment)) else places


class _Patterns:
    """Patterns run side by side: first those that compare exactly, then those of deny rules, blind to spelling."""

    def __init__(self, exact: tuple[PathPattern, ...], blind: tuple[PathPattern, ...]) -> None:
        folded = (tuple(s if s is None else folded_segment(s) for s in each.segments) for each in blind)
        self.spelled = {folded_segment(word): word for each in blind for word in each.segments if word}
        self.wants: tuple[_Form, ...] = (*(each.segments for each in exact), *folded)
        self.rests = tuple(each.rest for each in (*exact, *blind))
        first, end = len(exact), len(exact) + len(blind)
        self.exact: _Places = frozenset((number, 0) for number in range(first))
        self.blind: _Blind = frozenset((number, 0) for number in range(first, end)), _NOWHERE
        self.fresh = self._fresh()
        self._known: dict[_Places, _Moves] = {}
        self._work = 0

    def _fresh(self) -> str:
        """A segment that no pattern names."""
        named = {folded_segment(piece) for want in self.wants for word in want if word for piece in word.split("/")}
        count, word = 0, "any"
        while word in named:
            count += 1
            word = f"any{count}"
        return word

    def moves(self, places: _Places) -> _Moves:
        if places not in self._known:
            self._known[places] = _Moves(self, places)
        return self._known[places]

    def step(self, places: _Places, segment: str) -> _Places:
        """Where the exact patterns are one segment later."""
        found = self.moves(places).to(segment)
        self._work += 1 + len(found)
        if self._work > MAX_STEPS:
            raise TooLarge("the path patterns of one host can meet in too many ways")
        return found

    def blind_step(self, at: _Blind, segment: str) -> _Blind:
        """Where the deny patterns are one segment later. At the end of a path, they do not see one that is empty."""
        folded = folded_segment(segment)
        return self.step(at[0], folded), _NOWHERE if folded else at[0]

    def words(self, exact: _Places, blind: _Places) -> Iterator[tuple[str, str | None]]:
        """The segments that can lead to different places, each with its form. Any other one comes first."""
        yield self.fresh, None
        named = {word for word in self.moves(exact).literal if word and "/" not in word}
        yield from ((word, word) for word in sorted(named))
        for folded in sorted({word for word in self.moves(blind).literal if word} | ({""} if blind else set())):
            spelled = next(word for word in spellings(self.spelled.get(folded, "..")) if word not in named)
            yield spelled, self.spelled[folded] if folded else DOTS

    def slashed(self, exact: _Places) -> list[str]:
        """The literals with a slash in them that come next."""
        return sorted(word for word in self.moves(exact).literal if "/" in word)


def spellings(word: str) -> Iterator[str]:
    """Segments that deny rules cannot tell from this one, without end; the plainest first."""
    tries = dict.fromkeys((word.casefold(), word, word.upper(), word.title()))
    yield from (each for each in tries if folded_segment(each) == folded_segment(word) and each != "..")
    yield from (word + "." * dots for dots in count(1))


def covers(pattern: PathPattern, other: PathPattern) -> bool:
    """Whether every path that `other` matches is matched by `pattern`."""
    if len(other.segments) < len(pattern.segments) or (other.rest and not pattern.rest):
        return False
    if len(other.segments) > len(pattern.segments) and not pattern.rest:
        return False
    pairs = zip(pattern.segments, other.segments, strict=False)
    return all(mine == theirs or (mine is None and theirs != "") for mine, theirs in pairs)


def _encoded(words: Iterable[str]) -> str:
    return "/" + "/".join(quote(word, safe="") for word in words)


class _Found[S]:
    """States in the order in which they were reached, each with words that lead to it and the forms of all such."""

    def __init__(self, start: S) -> None:
        self.words: dict[S, _Words] = {start: ()}
        self.forms: dict[S, list[_Form]] = {start: [()]}
        self.queue = [start]

    def reach(self, before: S, state: S, words: _Words, form: _Form) -> None:
        forms = [(*each, *form) for each in self.forms[before]]
        if state not in self.words:
            if len(self.words) >= MAX_PATHS:
                raise TooLarge(f"the path patterns of one host tell more than {MAX_PATHS} kinds of path apart")
            self.words[state] = (*self.words[before], *words)
            self.forms[state] = forms
            self.queue.append(state)
            return
        known = self.forms[state]
        if len(known[0]) == len(forms[0]):  # a longer way is one that a `**` goes on
            new = (each for each in forms if not _any_covers(known, each))
            known.extend(islice(new, MAX_FORMS - len(known)))

    def __iter__(self) -> Iterator[S]:
        yield from self.queue  # which grows meanwhile


def _any_covers(known: list[_Form], form: _Form) -> bool:
    return any(covers(PathPattern(each), PathPattern(form)) for each in known)


def _plain(patterns: _Patterns) -> Iterator[PathClass]:
    type State = tuple[bool, _Places, _Blind]
    found: _Found[State] = _Found((False, patterns.exact, patterns.blind))
    for state in found:
        started, exact, blind = state
        for word, form in patterns.words(exact, blind[0]):
            after = (True, patterns.step(exact, word), patterns.blind_step(blind, word))
            found.reach(state, after, (word,), (form,))
        ahead = patterns.step(exact, patterns.fresh), patterns.blind_step(blind, patterns.fresh)
        target, forms = _encoded(found.words[state]), found.forms[state]
        if not started:
            yield PathClass("/", forms=(PathPattern(("",)),))
        elif not exact and blind == _LOST:
            yield PathClass(target, other=True)
        else:
            yield PathClass(target, forms=tuple(PathPattern(each, ahead == (exact, blind)) for each in forms))
            yield PathClass(target + "/", forms=tuple(PathPattern((*each, "")) for each in forms))


def _with_slashes(patterns: _Patterns) -> Iterator[PathClass]:
    # Places of exact patterns, of deny patterns in the reading that keeps the slash, and in the one that splits there.
    type State = tuple[bool, _Places, _Blind, _Blind]
    found: _Found[State] = _Found((False, patterns.exact, patterns.blind, patterns.blind))
    for state in found:
        slash, exact, blind, split = state
        for word, form in patterns.words(exact, blind[0] | split[0]):
            after = (patterns.step(exact, word), patterns.blind_step(blind, word), patterns.blind_step(split, word))
            found.reach(state, (slash, *after), (word,), (form,))
        named = patterns.slashed(exact)
        for word, pieces in _slash_words(patterns, named, split):
            places = patterns.step(exact, word), patterns.blind_step(blind, word), pieces
            found.reach(state, (True, *places), (word,), (word if word in named else None,))
        if slash:
            target, forms = _encoded(found.words[state]), tuple(PathPattern(form) for form in found.forms[state])
            if not exact and blind == split == _LOST:
                yield PathClass(target, Kind.SLASH, other=True)
                continue
            yield PathClass(target, Kind.SLASH, forms)
            yield PathClass(target + "/", Kind.SLASH, tuple(PathPattern((*form.segments, "")) for form in forms))


def _slash_words(patterns: _Patterns, named: list[str], split: _Blind) -> Iterator[tuple[str, _Blind]]:
    """Segments with a slash in them, and where each leads the deny patterns if its slashes separate."""
    for word in named:
        places = split
        for piece in word.split("/"):
            places = patterns.blind_step(places, piece)
        yield word, places
    reached: set[tuple[bool, _Blind]] = set()
    queue: list[tuple[bool, _Blind, str]] = [(False, split, "")]
    for begun, places, text in queue:
        for piece in ("", *(word for word, _ in patterns.words(_NOWHERE, places[0]))):
            longer = f"{text}/{piece}" if begun else piece
            key = (begun, patterns.blind_step(places, piece))
            if key in reached:
                continue
            reached.add(key)
            queue.append((True, key[1], longer))
            if begun:
                yield _unnamed(longer, named), key[1]


def _unnamed(word: str, named: list[str]) -> str:
    """The word, or one that deny rules cannot tell from it, that no exact pattern names."""
    tails = ("", "..." if word[-1] == "/" else ".")  # an empty piece and one of dots are the same to them
    tries = (f"{word}{tail}{'.' * dots * bool(tail)}" for dots in count() for tail in tails)
    return next(each for each in tries if each not in named)
