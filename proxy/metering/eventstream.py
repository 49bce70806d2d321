"""Amazon's event streams (docs.aws.amazon.com, "Amazon event stream encoding"): framed messages with checksums.

Only the events that can hold usage are read: `metadata` of Converse, `chunk` of InvokeModel. The others are skipped.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable

from proxy import limits
from proxy.metering.framing import Unreadable
from proxy.metering.skim import Member

_PRELUDE = 12  # total size, size of the headers, checksum of both
_CHECKSUM = 4
_STRING = 7  # the type of a header's value; that of every header that is looked at


class EventStream:
    """The messages of an event stream. `emit` gets the objects in those that are read."""

    done = False

    def __init__(self, emit: Callable[[Member], None]) -> None:
        self._emit = emit
        self._held = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> None:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._held += data[skipped:]
        while len(self._held) >= _PRELUDE:
            total = int.from_bytes(self._held[:4])
            if zlib.crc32(self._held[:8]) != int.from_bytes(self._held[8:12]) or total < _PRELUDE + _CHECKSUM:
                raise Unreadable("not an event stream")
            if total > limits.MAX_METERED_TEXT:
                self._skip = max(0, total - len(self._held))
                del self._held[:total]
                continue
            if len(self._held) < total:
                return
            self._message(bytes(self._held[:total]))
            del self._held[:total]

    def end(self) -> None:
        return

    def _message(self, message: bytes) -> None:
        end = _PRELUDE + int.from_bytes(message[4:8])
        kind = _event_type(message[_PRELUDE:end])
        if kind not in ("metadata", "chunk"):
            return
        if zlib.crc32(message[:-_CHECKSUM]) != int.from_bytes(message[-_CHECKSUM:]):
            raise Unreadable("not an event stream")
        payload = _object(message[end:-_CHECKSUM])
        if kind == "chunk" and payload is not None:
            payload = _object(_unwrapped(payload))
        if payload is not None:
            self._emit(payload)


def _event_type(headers: bytes) -> str | None:
    """The value of `:event-type`. A header is a name with its length, a type, and a value of a length of two bytes."""
    at = 0
    while at < len(headers):
        start = at + 1 + headers[at]
        name, kind, value = headers[at + 1 : start], headers[start : start + 1], start + 3
        if kind != bytes((_STRING,)):
            return None
        at = value + int.from_bytes(headers[start + 1 : value])
        if name == b":event-type":
            return headers[value:at].decode("utf-8", "replace")
    return None


def _unwrapped(payload: Member) -> bytes:
    """The vendor's own event, which InvokeModel carries in base64."""
    wrapped = payload.get("bytes")
    try:
        return base64.b64decode(wrapped, validate=True) if isinstance(wrapped, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _object(text: bytes) -> Member | None:
    try:
        found = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
