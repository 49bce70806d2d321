"""Scrubbing: masking a secret in what comes back, in each form that a server is likely to repeat it in.

A form is masked with as many `*`, so that lengths stay true. Incremental: any engine can drive it, in any chunks.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Never, final
from urllib.parse import quote

from proxy.credentials.secret import Secret

# The characters that common encoders leave alone beside letters, digits and `-._~`: Python's quote(safe="") and
# quote(), JavaScript's encodeURIComponent and encodeURI (ECMA-262 section 19.2.6).
_SAFE = ("", "/", "!*'()", ";,/?:@&=+$#!*'()")
# Candidates for the beginning of a form are looked up by this many bytes; shorter tails by a set.
_HEAD = 4

type _Span = tuple[int, int]


def forms_of(value: bytes) -> frozenset[bytes]:
    """Each form in which the value can come back: raw, base64, hex, percent-encoded, JSON-escaped.

    Base64 broken into lines, double encodings and compression inside the body are not among them.
    """
    hexed = value.hex()
    forms = {value, hexed.encode(), hexed.upper().encode()}
    forms.update(_base64_forms(value), _percent_forms(value.decode("ascii")), _json_forms(value.decode("ascii")))
    return frozenset(forms)


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """The characters that the value wholly determines, for each of its three alignments (RFC 4648 sections 4 and 5).

    The secret in Basic, base64 of `user:secret`, is one of these.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value + bytes(3))
        piece = encoded[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
        yield piece
        yield piece.translate(bytes.maketrans(b"+/", b"-_"))


def _percent_forms(text: str) -> Iterator[bytes]:
    encoded = {quote(text, safe=safe) for safe in _SAFE}
    encoded.add(quote(text, safe="*").replace("~", "%7E"))  # WHATWG URL, application/x-www-form-urlencoded
    encoded.add("".join(f"%{ord(character):02X}" for character in text))
    for form in encoded:
        yield form.encode()
        yield re.sub("%..", lambda match: match[0].lower(), form).encode()


def _json_forms(text: str) -> Iterator[bytes]:
    escaped = json.dumps(text)[1:-1]
    yield escaped.encode()
    yield escaped.replace("/", r"\/").encode()


@final
class Mask:
    """The compiled forms of some secrets. Like a `Secret`, it shows nothing and is not copied or pickled."""

    __slots__ = ("__forms", "__heads")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        forms: set[bytes] = set()
        for secret in secrets:
            forms |= forms_of(secret.reveal())
        self.__forms = tuple(sorted(forms))
        self.__heads = frozenset(form[:length] for form in forms for length in range(1, _HEAD))

    def apply(self, data: bytes) -> bytes:
        """The data, a header's value or a whole body, with each form masked; of the same length."""
        return _blot(data, self.spans(data), len(data))

    def spans(self, data: bytes) -> list[_Span]:
        """Where a form stands, as `(start, end)`, overlapping ones too."""
        found = []
        # One find per form: with nothing to find, this is several times faster than one alternation in `re`.
        for form in self.__forms:
            at = data.find(form)
            while at != -1:
                found.append((at, at + len(form)))
                at = data.find(form, at + 1)
        return found

    def unfinished(self, data: bytes) -> int:
        """Where the longest tail begins that could grow into a form; `len(data)` if none can."""
        cut = len(data)
        for length in range(_HEAD - 1, 0, -1):
            if (tail := data[-length:]) in self.__heads:
                cut = len(data) - len(tail)
                break
        for form in self.__forms:
            at = data.find(form[:_HEAD], max(0, len(data) - len(form) + 1), cut + _HEAD)
            while at != -1 and at < cut:
                if form.startswith(data[at:]):
                    cut = at
                at = data.find(form[:_HEAD], at + 1, cut + _HEAD)
        return cut

    def __repr__(self) -> str:
        return "Mask(***)"

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("masks are not copied or pickled")


class Scrubber:
    """Masks one response body that arrives in chunks. It holds back only a tail that could grow into a form."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
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
        spans = self._mask.spans(data)
        cut = self._mask.unfinished(data)
        covered = (0, self._covered)
        ends = [self._covered, *(end for start, end in spans if start < cut)]
        self._tail, self._covered = data[cut:], max(0, max(ends) - cut)
        return _pieces(_blot(data, [covered, *spans], cut))

    def flush(self) -> list[bytes]:
        """What was held back, at the end of the body."""
        data, covered = self._tail, (0, self._covered)
        self._tail, self._covered = b"", 0
        return _pieces(_blot(data, [covered, *self._mask.spans(data)], len(data)))


def _blot(data: bytes, spans: list[_Span], size: int) -> bytes:
    """The first `size` bytes of the data with the spans masked."""
    if not any(start < end for start, end in spans):
        return data[:size]
    blotted = bytearray(data)
    for start, end in spans:
        blotted[start:end] = b"*" * (end - start)
    return bytes(blotted[:size])


def _pieces(data: bytes) -> list[bytes]:
    return [data] if data else []
