"""What every reader of HTTP/1 messages has: a buffer, and the body of the message at hand, pulled piece by piece."""

from dataclasses import dataclass

import h11
from h11._receivebuffer import ReceiveBuffer

from proxy import limits
from proxy.fastlane.chunks import Chunks


class BadMessage(ValueError):
    """The bytes are not HTTP/1, or go beyond a limit; `too_large` tells these two apart."""

    def __init__(self, detail: str, *, too_large: bool = False) -> None:
        super().__init__(detail)
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class End:
    """A message is whole."""


END = End()


@dataclass(slots=True)
class Plain:
    """A body without marks of its own: so many bytes of it are still to come, or all until the end (None)."""

    left: int | None


type Body = Chunks | Plain


class Reader:
    """What both directions share: a buffer, and the body of the message that is being read."""

    blank_lines = 0  # that may come before a head

    def __init__(self) -> None:
        self.buffer = ReceiveBuffer()
        self._ahead = b""  # bytes of a plain body, whole as they came; the buffer is empty then
        self._body: Body | None = None
        self.has_body = False  # the message whose head was read last
        self._whole = False  # the end of the body is there, behind what was pulled last
        self._blank_lines = 0
        self._broken = False  # the body, behind what was pulled last

    @property
    def between(self) -> bool:
        """Whether no message has been begun."""
        return self._body is None and not self.buffer

    @property
    def in_body(self) -> bool:
        return self._body is not None

    @property
    def waiting(self) -> int:
        """How many bytes came that were not pulled."""
        return len(self.buffer) + len(self._ahead)

    def feed(self, data: bytes) -> None:
        body = self._body
        if isinstance(body, Plain) and not self.waiting and (body.left is None or len(data) <= body.left):
            self._ahead = data  # nobody else's: it need not be copied
            return
        if self._ahead:
            self.buffer += self._ahead
            self._ahead = b""
        self.buffer += data

    def rest(self) -> bytes:
        """Take what was not read, for the reader of another protocol."""
        data = self._ahead + bytes(self.buffer)
        self.buffer, self._ahead = ReceiveBuffer(), b""
        return data

    def ended(self) -> End | None:
        """The peer has sent its last byte: whether that ends the body properly."""
        if isinstance(self._body, Plain) and self._body.left is None and not self.waiting:
            self._body = None
            return END
        return None

    def _begin(self, size: int | None) -> None:
        """Read a body next: of `size` bytes, in chunks (None), or to the end of the connection (-1)."""
        self._body = Chunks() if size is None else Plain(None if size < 0 else size)
        self._whole = False
        self.has_body = size != 0

    def _lines(self) -> list[bytearray] | None:
        """The lines of the next head; None while it is not whole."""
        lines = self.buffer.maybe_extract_lines()
        while lines == []:
            # RFC 9112 section 2.2: some clients end a body with a line that is not part of it.
            self._blank_lines += 1
            if self._blank_lines > self.blank_lines:
                raise BadMessage("empty lines without end")
            lines = self.buffer.maybe_extract_lines()
        if lines is None:
            if len(self.buffer) > limits.MAX_HEAD:
                raise BadMessage("the head is too large", too_large=True)
            return None
        self._blank_lines = 0
        if sum(map(len, lines)) > limits.MAX_HEAD:
            raise BadMessage("the head is too large", too_large=True)
        return lines

    def _of_body(self, body: Body) -> bytes | End | None:
        return self._of_plain(body) if isinstance(body, Plain) else self._of_chunks(body)

    def _of_plain(self, body: Plain) -> bytes | End | None:
        if body.left == 0:
            self._body = None
            return END
        piece, self._ahead = self._ahead, b""
        if not piece:
            found = self.buffer.maybe_extract_at_most(len(self.buffer) if body.left is None else body.left)
            if not found:
                return None
            piece = bytes(found)
        if body.left is not None:
            body.left -= len(piece)
        return piece

    def _of_chunks(self, body: Chunks) -> bytes | End | None:
        """What there is of the chunks, in one piece: small ones must not cost a turn each."""
        pieces: list[bytes] = []
        while not self._whole and not self._broken:
            try:
                event = body(self.buffer)
            except h11.ProtocolError:
                self._broken = True
                break
            if isinstance(event, h11.Data):
                pieces.append(event.data)
            elif event is None:
                break
            else:
                self._whole = True
        if pieces:
            return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        if self._broken:
            raise BadMessage("the body cannot be read")
        if self._whole:
            self._body = None
            return END
        # What the reader of chunks leaves behind is an unfinished chunk head or trailer section.
        if len(self.buffer) > limits.MAX_TRAILERS:
            raise BadMessage("a chunk head is too large", too_large=True)
        return None
