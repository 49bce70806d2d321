"""Path patterns run side by side: the places that they can be at after each segment of a path.

A deny pattern is blind to case and more, so a literal of its has a second spelling, which only it takes for the same.
"""

from collections.abc import Iterable, Iterator
from itertools import count

from proxy.policy.path import PathPattern, folded_segment

MAX_STEPS = 4_000_000

type Places = frozenset[tuple[int, int]]  # the number of a pattern, and how many of its segments are matched
# Deny patterns see nothing of a last segment that folds to nothing: the second are the places before such a one.
type Blind = tuple[Places, Places]

NOWHERE: Places = frozenset()
LOST: Blind = (NOWHERE, NOWHERE)


class TooLarge(Exception):
    """There are more classes than can be compared. The text says of what."""


class _Moves:
    """Where some places lead: for each literal that one of them wants, and for every other segment."""

    def __init__(self, patterns: "Patterns", places: Places) -> None:
        self.literal: dict[str, set[tuple[int, int]]] = {}
        always, rest = set(), set()
        for number, done in places:
            wants = patterns.wants[number]
            if done == len(wants):
                if patterns.every[number].rest:
                    rest.add((number, done))
            elif (want := wants[done]) is None:
                always.add((number, done + 1))
            else:
                self.literal.setdefault(want, set()).add((number, done + 1))
        self.empty: Places = frozenset(rest)  # a `*` never stands for an empty segment
        self.other: Places = frozenset(always | rest)

    def to(self, segment: str) -> Places:
        places = self.other if segment else self.empty
        return places | more if (more := self.literal.get(segment)) else places


class Patterns:
    """Patterns run side by side: first those that compare exactly, then those of deny rules, blind to spelling."""

    def __init__(self, exact: tuple[PathPattern, ...], blind: tuple[PathPattern, ...]) -> None:
        self.every = (*exact, *blind)
        folded = (tuple(s if s is None else folded_segment(s) for s in each.segments) for each in blind)
        self._spelled = {folded_segment(word): word for each in blind for word in each.segments if word}
        self.wants: tuple[tuple[str | None, ...], ...] = (*(each.segments for each in exact), *folded)
        self.exact: Places = frozenset((number, 0) for number in range(len(exact)))
        self.blind: Blind = frozenset((number, 0) for number in range(len(exact), len(self.every))), NOWHERE
        self.fresh = self._fresh()
        self._known: dict[Places, _Moves] = {}
        self._work = 0

    def _fresh(self) -> str:
        """A segment that no pattern names."""
        named = {folded_segment(piece) for want in self.wants for word in want if word for piece in word.split("/")}
        return next(
            word for word in ("any", *(f"any{number}" for number in range(1, len(named) + 2))) if word not in named
        )

    def _moves(self, places: Places) -> _Moves:
        if places not in self._known:
            self._known[places] = _Moves(self, places)
        return self._known[places]

    def step(self, places: Places, segment: str) -> Places:
        """Where the exact patterns are one segment later."""
        found = self._moves(places).to(segment)
        self._work += 1 + len(found)
        if self._work > MAX_STEPS:
            raise TooLarge("the path patterns of one host can meet in too many ways")
        return found

    def blind_step(self, at: Blind, segment: str) -> Blind:
        """Where the deny patterns are one segment later. At the end of a path, they do not see one that is empty."""
        folded = folded_segment(segment)
        return self.step(at[0], folded), NOWHERE if folded else at[0]

    def split_step(self, at: Blind, piece: str) -> Blind:
        """As `blind_step`, for a piece between slashes that are taken for one where nothing is between them."""
        return self.blind_step(at, piece) if piece else (at[0], self.step(at[0], ""))

    def matched(self, places: Iterable[tuple[int, int]]) -> frozenset[PathPattern]:
        """The patterns that a path matches which ends here."""
        return frozenset(self.every[number] for number, done in places if done == len(self.wants[number]))

    def words(self, exact: Places, blind: Places) -> Iterator[str]:
        """The segments that can lead to different places; one that no pattern names comes first."""
        yield self.fresh
        named = {word for word in self._moves(exact).literal if word and "/" not in word}
        yield from sorted(named)
        for folded in sorted({word for word in self._moves(blind).literal if word} | ({""} if blind else set())):
            yield next(word for word in spellings(self._spelled.get(folded, " ")) if word not in named)

    def slashed(self, exact: Places) -> list[str]:
        """The literals with a slash in them that come next."""
        return sorted(word for word in self._moves(exact).literal if "/" in word)


def spellings(word: str) -> Iterator[str]:
    """Segments that deny rules cannot tell from this one, without end; the plainest first."""
    tries = dict.fromkeys((word.casefold(), word, word.upper(), word.title()))
    yield from (each for each in tries if folded_segment(each) == folded_segment(word))
    end = "." if folded_segment(word) else " "  # of dots alone, it could not be read
    yield from (word + end * times for times in count(1))
