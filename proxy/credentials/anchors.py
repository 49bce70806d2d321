"""Anchors: what to look for in data, so that few and long searches find each of many forms.

Forms that many signs of a secret make differ in a few places; what they share stands in for all of them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain

# What forms are to have in common, in bytes, to be found by it. The longer what is looked for, the faster it is.
_SHARED = 8
# How far into a form that is looked for, so that a long secret takes no longer.
_REACH = 64
# Fewer forms than these are found faster by themselves.
_WORTH = 3
# Visible ASCII from rare to frequent in text, JSON and code; first the signs of encoders.
_RARITY = b"&%\\~^`|@!$?+*<>';#][}{QZXJYKVWq=HGjUzBFLMPNDORxICSATEkv()/9738465wybg_-f,pm2uh.dcl1:n0roisate\""


class Forms:
    """Some forms in order, so that what stands in a place is compared with a few of them."""

    __slots__ = ("_forms", "_longest", "_within")

    def __init__(self, forms: Iterable[bytes]) -> None:
        self._forms = sorted(forms)
        self._longest = max(map(len, self._forms), default=0)
        # Where the longest other form is that each begins with. All that sort between the two begin with it, too.
        self._within: list[int] = []
        for index, form in enumerate(self._forms):
            before = index - 1
            while before >= 0 and not form.startswith(self._forms[before]):
                before = self._within[before]
            self._within.append(before)

    def at(self, data: bytes, start: int) -> int:
        """The length of the longest form that stands there; 0 for none."""
        found = bisect_right(self._forms, data[start : start + self._longest]) - 1
        while found >= 0 and not data.startswith(self._forms[found], start):
            found = self._within[found]
        return len(self._forms[found]) if found >= 0 else 0

    def grow_from(self, tail: bytes) -> bool:
        """Whether a form begins with the tail, and goes on."""
        after = bisect_right(self._forms, tail)
        return after < len(self._forms) and self._forms[after].startswith(tail)


class Anchor:
    """The bytes that some forms share, and where in each they stand."""

    __slots__ = ("_alone", "_forms", "guards", "shared")

    def __init__(self, shared: bytes, forms: Collection[bytes]) -> None:
        self.shared = shared
        places: dict[int, list[bytes]] = {}
        for form in forms:
            places.setdefault(form.index(shared), []).append(form)
        self._alone = list(forms) == [shared]
        self._forms = tuple((offset, Forms(found)) for offset, found in places.items())
        rare = sorted(set(shared), key=_RARITY.index)
        # Where one of these bytes is missing nothing is found. Numbers: Python looks for those first, and far faster.
        self.guards = (rare[0], rare[min(1, len(rare) - 1)])

    def spans(self, data: bytes, at: int) -> list[tuple[int, int]]:
        """Where forms stand, as `(start, end)`; of those that begin in one place, the longest. `at` is the first place
        of what they share.
        """
        found = []
        size = len(self.shared)
        while at != -1:
            if self._alone:
                found.append((at, at + size))
            else:
                for offset, forms in self._forms:
                    start = at - offset
                    if start >= 0 and (length := forms.at(data, start)):
                        found.append((start, start + length))
            at = data.find(self.shared, at + 1)
        return found


def anchors_of(forms: Collection[bytes]) -> tuple[Anchor, ...]:
    """Anchors by which each form is found: for each of them one that it contains."""
    left = {form: _windows(form) for form in forms}
    found = []
    while left:
        window, count = max(Counter(chain.from_iterable(left.values())).items(), key=lambda item: (item[1], item[0]))
        if count < _WORTH:
            break
        group = [form for form, windows in left.items() if window in windows]
        found.append(Anchor(_grown(window, group), group))
        for form in group:
            del left[form]
    return (*found, *(Anchor(form, [form]) for form in left))


def _windows(form: bytes) -> frozenset[bytes]:
    size = min(_SHARED, len(form))
    return frozenset(form[at : at + size] for at in range(min(_REACH, len(form) - size + 1)))


def _grown(window: bytes, forms: Iterable[bytes]) -> bytes:
    """The window with what else all the forms have before and behind its first place in them."""
    parts = [form.partition(window) for form in forms]
    before = _opening([part[0][::-1] for part in parts])[::-1]
    return before + window + _opening([part[2] for part in parts])


def _opening(parts: Collection[bytes]) -> bytes:
    """What all the parts begin with: what the two that are furthest apart do."""
    first, last = min(parts), max(parts)
    return first[: next((at for at, byte in enumerate(first) if last[at] != byte), len(first))]
