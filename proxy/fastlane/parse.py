"""HTTP/1 messages out of bytes, pulled piece by piece: a head, parts of its body, its end.

Heads are read by what RFC 9112 allows and no more, chunks as h11 reads them, as in the mitmproxy lane. What is pulled
is all that is looked at: what a peer sends ahead waits, unread, in a buffer of a bounded size.
"""

import re

from proxy import limits
from proxy.fastlane.reader import BadMessage, End, Reader
from proxy.head import LENGTH, MAX_HEADERS, Head, Headers
from proxy.passing import Answer, has_body

REQUEST_LINE = re.compile(rb"([\x21-\x7e]+) ([\x21-\xff]+) (HTTP/1\.[01])")
"""Strict (RFC 9112 section 3), for both lanes. Whether it is a method and a target is the gate's to say."""
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_AUTHORITY = re.compile(rb"(?:[^:/\[\]]+|\[[^/]+\])(?::[0-9]+)?")
_FOLD = b"\r\n "


class Requests(Reader):
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


class Answers(Reader):
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
