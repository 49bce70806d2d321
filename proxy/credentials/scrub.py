"""Scrubbing: masking a secret in what comes back, in each form that a server is likely to repeat it in.

A form is masked with as many `*`, so that lengths stay true. Incremental: any engine can drive it, in any chunks.
"""

import re
from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Never, override

from proxy.credentials.anchors import Forms, anchors_of
from proxy.credentials.forms import forms_of
from proxy.credentials.secret import Secret

# Candidates for the beginning of a form are looked up by this many bytes; shorter tails by a set.
_HEAD = 4

type _Span = tuple[int, int]


class Mask:
    """The compiled forms of some secrets. Like a `Secret`, it shows nothing and is not copied or pickled."""

    __slots__ = ("__anchors", "__beginning", "__forms", "__heads", "__longest")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        forms: set[bytes] = set()
        for secret in secrets:
            forms |= forms_of(secret.reveal())
        self.__forms = Forms(forms)
        self.__anchors = tuple([(*anchor.guards, anchor.shared, anchor) for anchor in anchors_of(sorted(forms))])
        # In the short end of a chunk one search for all is faster. It finds nothing where there are no forms.
        beginnings = {re.escape(form[:_HEAD]) for form in forms}
        self.__beginning = re.compile(b"|".join(beginnings) or rb"(?!)")
        self.__longest = max(map(len, forms), default=0)
        self.__heads = frozenset(form[:length] for form in forms for length in range(1, _HEAD))

    def now(self) -> "Mask":
        """What to mask with at this moment: the same for as long as nothing has changed."""
        return self

    def apply(self, data: bytes) -> bytes:
        """The data, a header's value or a whole body, with each form masked; of the same length."""
        return _blot(data, self.spans(data), len(data))

    def spans(self, data: bytes) -> list[_Span]:
        """Where a form stands, as `(start, end)`, overlapping ones too; of those that begin together the longest."""
        found: list[_Span] = []
        # One find per anchor: with nothing to find, this is several times faster than one alternation in `re`.
        for rarest, rare, shared, anchor in self.__anchors:
            if rarest in data and rare in data and (at := data.find(shared)) != -1:
                found += anchor.spans(data, at)
        return found

    def unfinished(self, data: bytes) -> int:
        """Where the longest tail begins that could grow into a form; `len(data)` if none can."""
        cut = len(data)
        for length in range(_HEAD - 1, 0, -1):
            if (tail := data[-length:]) in self.__heads:
                cut = len(data) - len(tail)
                break
        found = self.__beginning.search(data, max(0, len(data) - self.__longest + 1))
        while found is not None and found.start() < cut:
            if self.__forms.grow_from(data[found.start() :]):
                return found.start()
            found = self.__beginning.search(data, found.start() + 1)
        return cut

    def __repr__(self) -> str:
        return "Mask(***)"

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("masks are not copied or pickled")


class LiveMask(Mask):
    """The mask that `ask` gives, asked at each use: what comes into force while an answer runs is masked in it, too."""

    __slots__ = ("__ask",)

    def __init__(self, ask: Callable[[], Mask | None]) -> None:
        # No forms of its own: each use is one of another mask.
        self.__ask = ask

    @override
    def now(self) -> Mask:
        return self.__ask() or _NOTHING

    @override
    def apply(self, data: bytes) -> bytes:
        return self.now().apply(data)

    @override
    def spans(self, data: bytes) -> list[_Span]:
        return self.now().spans(data)

    @override
    def unfinished(self, data: bytes) -> int:
        return self.now().unfinished(data)


class Scrubber:
    """Masks one response body that arrives in chunks. It holds back only a tail that could grow into a form."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        # Those for whose forms the tail was held back: it may go on as one of them though the mask has changed.
        self._holding: tuple[Mask, ...] = ()
        self._tail = b""
        # How much of the tail belongs to a form that began before it.
        self._covered = 0

    def __repr__(self) -> str:
        return f"Scrubber(holding {len(self._tail)} bytes)"

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; what can be sent on now. Holds no empty piece: some writers take one for the end."""
        if not chunk:
            return []
        data = self._tail + chunk
        masks = self._masks()
        spans, cut = [(0, self._covered)] if self._covered else [], len(data)
        for mask in masks:
            spans += mask.spans(data)
            cut = min(cut, mask.unfinished(data))
        if spans:
            self._covered = max(0, max([self._covered, *[end for start, end in spans if start < cut]]) - cut)
        elif cut == len(data):  # as with nearly all that passes
            self._tail, self._holding = b"", ()
            return [data]
        self._tail = data[cut:]
        self._holding = masks if self._tail else ()
        return _pieces(_blot(data, spans, cut))

    def flush(self) -> list[bytes]:
        """What was held back, at the end of the body."""
        if not self._tail:
            return []
        data, spans = self._tail, [(0, self._covered)]
        for mask in self._masks():
            spans += mask.spans(data)
        self._tail, self._covered, self._holding = b"", 0, ()
        return _pieces(_blot(data, spans, len(data)))

    def _masks(self) -> tuple[Mask, ...]:
        now = self._mask.now()
        return (now, *[mask for mask in self._holding if mask is not now]) if self._holding else (now,)


def is_same(one: Secret, other: Secret) -> bool:
    """Whether two secrets have one value. For what is remembered of them alone: nothing may depend on it that a client
    can see.
    """
    return compare_digest(one.reveal(), other.reveal())


def _blot(data: bytes, spans: list[_Span], size: int) -> bytes:
    """The first `size` bytes of the data with the spans masked."""
    if not spans:
        return data[:size]
    blotted = bytearray(data)
    for start, end in spans:
        blotted[start:end] = b"*" * (end - start)
    return bytes(blotted[:size])


def _pieces(data: bytes) -> list[bytes]:
    return [data] if data else []


_NOTHING = Mask(())
