"""HTTP/1 messages out of bytes, pulled piece by piece: a head, parts of its body, its end.

Heads are read by what RFC 9112 allows and no more, chunks as h11 reads them, as in the mitmproxy lane. What is pulled
is all that is looked at: what a peer sends ahead waits, unread, in a buffer of a bounded size.
"""

import re
from dataclasses import dataclass

import h11
from h11._receivebuffer import ReceiveBuffer

from proxy import limits
from proxy.fastlane.chunks import Chunks
from proxy.head import LENGTH, MAX_HEADERS, Head, Headers
from proxy.passing import Answer, has_body

REQUEST_LINE = re.compile(rb"([\x21-\x7e]+) ([\x21-\xff]+) (HTTP/1\.[01])")
"""Strict (RFC 9112 section 3), for both lanes. Whether it is a method and a target is the gate's to say."""
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_AUTHORITY = re.compile(rb"(?:[^:/\[\]]+|\[[^/]+\])(?::[0-9]+)?")
_FOLD = b"\r\n "


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


class _Reader:
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


class Requests(_Reader):
    """The requests of one client."""

    blank_lines = limits.MAX_BLANK_LINES

    def __init__(self) -> None:
        super().__init__()
        self.in_doubt = False  # where the message ends whose head was read last

    def next(self) -> Head | bytes | End | None:
        """The next piece; None while more bytes are needed. Raises `BadMessage`."""
        if self._body is not None:
            return self._of_body(self._body)
        lines = self._lines()
        if lines is None:
            return None
        match = REQUEST_LINE.fullmatch(lines[0])
        if match is None:
            raise BadMessage("the request line cannot be read")
        method, target, version = match.groups()
        head = _head(bytes(method), bytes(target), bytes(version), _fields(lines))
        size = _request_size(head)
        self.in_doubt = size is None and not _is_chunked(head)
        self._begin(0 if head.method == b"CONNECT" else size)
        return head


class Answers(_Reader):
    """The answers of one upstream connection. `reusable` says that another request may follow the last one."""

    def __init__(self) -> None:
        super().__init__()
        self._interim = 0
        self._keep = False

    @property
    def reusable(self) -> bool:
        return self._keep and self.between

    @property
    def begun(self) -> bool:
        """Whether anything came of an answer, if it was one that says to wait."""
        return not self.between or self._interim > 0

    @property
    def spoilt(self) -> bool:
        """Whether something stands behind a whole answer. It is thrown away, and the connection is not reusable."""
        if self._body is None and self.rest():
            self._keep = False
            return True
        return False

    def next(self, method: str) -> Answer | bytes | End | None:
        """The next piece of the answer to a request; 1xx answers are skipped. Raises `BadMessage`."""
        if self._body is not None:
            return self._of_body(self._body)
        while (lines := self._lines()) is not None:
            match = _STATUS_LINE.fullmatch(lines[0])
            if match is None:
                raise BadMessage("the status line cannot be read")
            version, status, reason = match.groups()
            if status[:1] == b"1" and status != b"101":
                self._interim += 1
                if self._interim > limits.MAX_INTERIM:
                    raise BadMessage("too many interim answers", too_large=True)
                continue
            answer = Answer(int(status), bytes(reason or b""), bytes(version), _fields(lines))
            self._interim = 0
            size = _answer_size(answer, method)
            self._keep = size != -1 and version == b"HTTP/1.1" and not says_close(answer.values(b"connection"))
            self._begin(size)
            return answer
        return None


def _fields(lines: list[bytearray]) -> Headers:
    """Names and values, as they came; whether each is well formed is the gate's to say (`head.read_head`)."""
    if len(lines) > MAX_HEADERS + 1:
        raise BadMessage(f"more than {MAX_HEADERS} header fields", too_large=True)
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        if line[0] in b" \t" and fields:
            name, value = fields.pop()
            fields.append((name, value if value.endswith(_FOLD) else value + _FOLD))  # refused, whatever follows
            continue
        name, separator, value = bytes(line).partition(b":")
        if not separator or not name:
            raise BadMessage("a header line cannot be read")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def _head(method: bytes, target: bytes, version: bytes, fields: Headers) -> Head:
    """The forms of a target (RFC 9112 section 3.2) taken apart."""
    if target[:1] == b"/" or target == b"*":
        return Head(method, target, version, fields)
    if method == b"CONNECT":
        if not _AUTHORITY.fullmatch(target):
            raise BadMessage("the target is not a host and a port")
        return Head(method, b"", version, fields, b"", target)
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise BadMessage("the target is of no known form")
    authority, _, path = rest.partition(b"/")
    return Head(method, b"/" + path, version, fields, scheme, authority)


def _request_size(head: Head) -> int | None:
    """How the body ends (RFC 9112 section 6.3). Raises `BadMessage` where two readers could disagree."""
    codings, lengths = head.values(b"transfer-encoding"), head.values(b"content-length")
    if len(codings) > 1:
        raise BadMessage("the framing is in doubt")
    if codings:
        return None  # any other doubt about it is the gate's to refuse, and then nothing is read
    if len(lengths) > 1 or not all(map(LENGTH.fullmatch, lengths)):
        raise BadMessage("the framing is in doubt")
    return int(lengths[0]) if lengths else 0


def _is_chunked(head: Head) -> bool:
    """Whether chunks are what every reader takes the body for."""
    codings = [coding.lower() for coding in head.values(b"transfer-encoding")]
    return codings == [b"chunked"] and not head.values(b"content-length") and head.version == b"HTTP/1.1"


def _answer_size(answer: Answer, method: str) -> int | None:
    """RFC 9112 section 6.3. Of an answer whose codings are in doubt nothing is read: it is refused."""
    if not has_body(method.encode(), answer.status):
        return 0
    lengths = answer.values(b"content-length")
    if not answer.values(b"transfer-encoding") and (len(lengths) > 1 or not all(map(LENGTH.fullmatch, lengths))):
        raise BadMessage("the length of the answer is in doubt")
    if answer.in_doubt:
        return 0
    return None if answer.values(b"transfer-encoding") else int(lengths[0]) if lengths else -1


def says_close(values: list[bytes]) -> bool:
    """Whether the values of `Connection` say that the connection ends with the message (RFC 9112 section 9.6)."""
    return any(token.strip().lower() == b"close" for value in values for token in value.split(b","))
