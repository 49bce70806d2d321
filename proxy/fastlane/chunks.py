"""Bodies in chunks (RFC 9112 section 7.1): read as h11 reads them and no other way, but at another cost.

A peer chooses how small its chunks are. h11's reader makes objects of each and moves the buffer four times; here those
of one read cost a search each, and are one piece.
"""

import re

from h11 import Data, EndOfMessage, LocalProtocolError
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer

_LINE_END = b"\r\n"
# What h11's `chunk_header_re` takes, in a time that grows with the line and not with its square.
_HEADER = re.compile(rb"([0-9A-Fa-f]{1,20})(?:[ \t]*|;[^\n]*)\r\n")


class Chunks:
    """One body. Called with the buffer, like h11's readers; what breaks it is told after the data in front of it."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk that is under way
        self._foot = b""  # what must follow them
        self._last: ChunkedReader | None = None  # for the last chunk and the trailers behind it

    def __call__(self, buffer: ReceiveBuffer) -> Data | EndOfMessage | None:
        """The data that is there; None while more bytes are needed. Raises `LocalProtocolError`."""
        if self._left:
            data = buffer.maybe_extract_at_most(self._left) or b""
            self._left -= len(data)
            return Data(data=bytes(data)) if data else None
        if not self._pass_foot(buffer):
            return None
        if self._last is None and (found := self._find(buffer)):
            return Data(data=found)
        return None if self._last is None else self._last(buffer)

    def _pass_foot(self, buffer: ReceiveBuffer) -> bool:
        """Take what ends a chunk; whether all of it was there."""
        if self._foot and (found := buffer.maybe_extract_at_most(len(self._foot))):
            if not self._foot.startswith(found):
                raise LocalProtocolError("malformed chunk footer")
            self._foot = self._foot[len(found) :]
        return not self._foot

    def _find(self, buffer: ReceiveBuffer) -> bytes:
        """Take the chunks that the buffer begins with, the beginning of one as well; their data."""
        data = bytes(buffer)
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            header = _HEADER.match(data, at)
            if header is None:
                if not at and _LINE_END in data:
                    raise LocalProtocolError("illegal chunk header")
                break
            length, start = int(header[1], 16), header.end()
            if not length:
                self._last = ChunkedReader()
                break
            end = start + length
            pieces.append(data[start:end])
            at = end + len(_LINE_END)
            if data[end:at] != _LINE_END:
                self._left, self._foot = max(0, end - size), _LINE_END
                at = min(end, size)
                break
        if at:
            buffer.maybe_extract_at_most(at)
        return b"".join(pieces)
