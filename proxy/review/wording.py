"""Sets of classes in words: few terms, and the terms to except from them, that mean exactly the set."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol, Self

_MOST_FOR_PAIRS = 60

type _Mask = int  # one bit for each class


class Term[C](Protocol):
    """Words that say of each class whether it is meant, and that can be said together with others."""

    @property
    def text(self) -> str: ...

    def means(self, one: C, /) -> bool: ...

    def __and__(self, other: Self, /) -> Self: ...


@dataclass(frozen=True, slots=True)
class Region[C]:
    """What one of the terms means and no exception does. Without a term: anything."""

    members: frozenset[C]
    terms: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


class Wording[C, T: Term[Any]]:
    """The words for all sets of some classes.

    `terms` are those to prefer, the plainest first; `whole` says all of a class that can be said without an exception.
    """

    def __init__(self, classes: Sequence[C], terms: Iterable[T], whole: Callable[[C], T]) -> None:
        self._bits = {one: 1 << number for number, one in enumerate(classes)}
        self._plain = self._masked(terms)
        self._whole = whole

    def regions(self, members: frozenset[C]) -> Iterator[Region[C]]:
        """Few regions that together are these classes. They may share some."""
        wanted = sum(self._bits[one] for one in members)
        if len(members) == len(self._bits):
            yield Region(members)
            return
        for terms in (self._plain, self._with_pairs):
            found = self._at_once(wanted, terms)
            if found:
                yield from found
                return
        yield from self._one_by_one(wanted)

    def _masked(self, terms: Iterable[T]) -> dict[T, _Mask]:
        """The terms that mean something, each other thing once, with what it means."""
        found: dict[_Mask, T] = {}
        for term in terms:
            found.setdefault(sum(bit for one, bit in self._bits.items() if term.means(one)), term)
        return {term: mask for mask, term in found.items() if mask}

    @cached_property
    def _with_pairs(self) -> dict[T, _Mask]:
        if len(self._plain) > _MOST_FOR_PAIRS:
            return self._plain
        pairs = (one & other for one, other in combinations(self._plain, 2))
        return self._masked((*self._plain, *pairs))

    def _at_once(self, wanted: _Mask, terms: dict[T, _Mask]) -> list[Region[C]]:
        """One region; or one without exceptions, and one for the rest. None where that cannot be said."""
        region = self._region(wanted, wanted, terms)
        if region:
            return [region]
        inside = {term: mask for term, mask in terms.items() if not mask & ~wanted}
        region = self._region(wanted & ~_union(inside.values()), wanted, terms)
        if region is None:
            return []
        left = self._region(wanted & ~self._mask(region), wanted, inside)
        return [left, region] if left else []

    def _one_by_one(self, wanted: _Mask) -> Iterator[Region[C]]:
        """As many regions as it takes. Each class can be said: what it matches, but for all that it does not."""
        left = wanted
        while left:
            seeds = [one for one, bit in self._bits.items() if bit & left]
            terms = self._masked((*self._plain, *(self._whole(one) for one in seeds)))
            target, found = 0, list[Region[C]]()
            for one in seeds:
                region = self._region(target | self._bits[one], wanted, terms)
                if region:
                    target, found = target | self._bits[one], [region]
            left &= ~self._mask(found[0])
            yield found[0]

    def _mask(self, region: Region[C]) -> _Mask:
        return sum(self._bits[one] for one in region.members)

    def _region(self, target: _Mask, wanted: _Mask, terms: dict[T, _Mask]) -> Region[C] | None:
        """All of `target`, and nothing beyond `wanted`, with as few terms as a greedy choice finds."""
        beside = {term: mask for term, mask in terms.items() if not mask & target}
        excepted = _union(beside.values())
        usable = {term: mask for term, mask in terms.items() if mask & target and not mask & ~wanted & ~excepted}
        if not target or target & ~_union(usable.values()):
            return None
        chosen = _cover(target, usable, wanted)
        means = _union(terms[term] for term in chosen)
        but = _cover(means & ~wanted, beside, ~0)
        means &= ~_union(terms[term] for term in but)
        members = frozenset(one for one, bit in self._bits.items() if bit & means)
        return Region(members, *(tuple(term.text for term in each) for each in (chosen, but)))


def _union(masks: Iterable[_Mask]) -> _Mask:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _cover[T](target: _Mask, terms: dict[T, _Mask], wanted: _Mask) -> list[T]:
    """Few of the terms that together mean all of the target; those that mean little beyond `wanted` first."""
    chosen: list[T] = []
    left = target
    while left:
        best = max(terms, key=lambda term: ((terms[term] & left).bit_count(), -(terms[term] & ~wanted).bit_count()))
        chosen.append(best)
        left &= ~terms[best]
    for term in list(chosen):
        if not target & ~_union(terms[each] for each in chosen if each is not term):
            chosen.remove(term)
    return [term for term in terms if term in chosen]
