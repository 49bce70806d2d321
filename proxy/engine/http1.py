"""HTTP/1 on both sides, bounded, and without mitmproxy's error pages and logs.

Restates parts of mitmproxy 12.2.3's `_http1.py` (see tests/engine/test_mirrored.py): heads have a limit, a malformed
head becomes a refusal with an event, 1xx answers are skipped, trailers are dropped instead of crashing the connection.
Requests may be pipelined, and a client that has said all (a half-closed connection) still gets its answers.
"""

import re
import time
from collections.abc import Callable

import h11
from h11._readers import ChunkedReader, Http10Reader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseProtocolError,
)

from proxy import limits
from proxy.engine.state import session_of
from proxy.fastlane.parse import REQUEST_LINE
from proxy.policy.reason import Reason

# RFC 9112 section 4; a server may leave out the space before a reason that it does not give.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [\t -~\x80-\xff]*)?\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r\n]")

CUT = "cut"
"""The error of a connection whose end must not look like a proper one."""

_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")

type Refuser = Callable[[Reason, str], bytes]
"""Records a request that never became one, and returns the bytes of its refusal."""


class BrokenBody(RequestProtocolError):
    """A request whose body breaks its framing. Its client can still be told; the stream closes the connection."""


class _Chunked(ChunkedReader):
    """Reads chunks and drops the trailer section, which mitmproxy cannot carry over HTTP/1 (its issue 2474)."""

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = super().__call__(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) and event.headers else event


class _Bounded(_http1.Http1Connection):
    """What both sides share: the body of a chunked message, with a bound on what is not body."""

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(self.body_reader, ChunkedReader):
            if type(self.body_reader) is not _Chunked:
                self.body_reader = _Chunked()
            yield from self._merged(super().read_body(event))
        else:
            yield from super().read_body(event)
        # What a reader leaves behind is an unfinished chunk head or trailer section.
        if self.state == self.read_body and len(self.buf) > limits.MAX_TRAILERS:
            yield commands.CloseConnection(self.conn)
            assert self.stream_id is not None
            yield ReceiveHttp(
                self.ReceiveProtocolError(self.stream_id, "chunk head too large", self.ReceiveProtocolError.code)
            )
            self.state = self.done

    def _merged(self, made: layer.CommandGenerator[None]) -> layer.CommandGenerator[None]:
        """Hand on the chunks of one read as one piece: small chunks must not cost a turn through every layer each."""
        pieces: list[bytes] = []
        for command in made:
            if isinstance(command, ReceiveHttp) and isinstance(command.event, RequestData | ResponseData):
                pieces.append(command.event.data)
                continue
            if pieces:
                yield self._piece(pieces)
                pieces = []
            yield command
        if pieces:
            yield self._piece(pieces)

    def _piece(self, pieces: list[bytes]) -> ReceiveHttp:
        assert self.stream_id is not None
        return ReceiveHttp(self.ReceiveData(self.stream_id, b"".join(pieces)))


class ClientSide(_Bounded, _http1.Http1Server):
    """The connection to the client. `refuse` answers what is not a request.

    `due` says that a request may wait in what the client sent ahead. It is read once the event at hand has unwound,
    when `Http` asks again: read at once, it would meet an upstream connection that has not yet ended the last one.
    """

    def __init__(self, context: Context, refuse: Refuser) -> None:
        super().__init__(context)
        self.refuse = refuse
        self.due = False
        self.ending = False  # inside `mark_done`
        self.said_all = False  # the client's half of the connection is closed
        self.blank_lines = 0

    def mark_done(self, *, request: bool = False, response: bool = False) -> layer.CommandGenerator[None]:
        self.ending = True
        yield from super().mark_done(request=request, response=response)
        self.ending = False
        self.due = self.request is None and (self.said_all or bool(self.buf))

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Leave it to the stream to close the connection for a broken body: it has an answer to give, maybe later."""
        closing: list[commands.Command] = []
        for command in super().read_body(event):
            if isinstance(command, commands.CloseConnection):
                closing.append(command)
            elif closing and isinstance(event, events.DataReceived) and isinstance(command, ReceiveHttp):
                closing.clear()
                self.state = self.done
                yield ReceiveHttp(BrokenBody(self.stream_id, "the body is malformed", ErrorCode.GENERIC_CLIENT_ERROR))
            else:
                yield from closing
                closing.clear()
                yield command
        yield from closing

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Mirrors `Http1Server.read_headers`."""
        if self.ending:
            return
        lines = self._lines() if isinstance(event, events.DataReceived) else None
        if lines is None:
            yield from self._no_head(ended=self.said_all or isinstance(event, events.ConnectionClosed))
            return
        try:
            if not lines:
                raise ValueError("empty lines without end")
            if not REQUEST_LINE.fullmatch(lines[0]):
                raise ValueError("not a request line")
            self.request = http1.read_request_head([bytes(line) for line in lines])
            size = http1.expected_http_body_size(self.request)
            if self.request.data.http_version not in _VERSIONS:
                raise ValueError("not HTTP/1")
        except ValueError:
            # The parser's message quotes the request line, and with it the query.
            yield from self._refuse(Reason.MALFORMED_REQUEST, "the request head cannot be parsed")
            return
        yield ReceiveHttp(RequestHeaders(self.stream_id, self.request, size == 0))
        self.body_reader = _http1.make_body_reader(size)
        self.state = self.read_body
        yield from self.state(event)

    def _lines(self) -> list[bytearray] | None:
        """The lines of the next head, which are none after too many empty ones; None while it is not whole."""
        lines = self.buf.maybe_extract_lines()
        while lines == [] and self.blank_lines < limits.MAX_BLANK_LINES:
            # RFC 9112 section 2.2: some clients end a body with a line that is not part of it.
            self.blank_lines += 1
            lines = self.buf.maybe_extract_lines()
        if lines:
            self.blank_lines = 0
        return lines

    def _no_head(self, *, ended: bool) -> layer.CommandGenerator[None]:
        begun = bytes(self.buf) not in (b"", b"\r")
        if ended:
            if begun:
                self.refuse(Reason.MALFORMED_REQUEST, "the connection ended inside the request head")
            yield commands.CloseConnection(self.conn)
        elif begun:
            session = session_of(self.context.client)
            session.head_since = session.head_since or time.monotonic()
            if len(self.buf) > limits.MAX_HEAD:
                yield from self._refuse(Reason.LIMIT_EXCEEDED, "the request head is too large")

    def wait(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.ConnectionClosed) and self.conn.state & ConnectionState.CAN_WRITE:
            # Nothing more will come, and what was asked is still to be answered.
            self.said_all = True
            return
        if isinstance(event, events.DataReceived) and len(self.buf) > limits.MAX_HEAD:
            yield commands.CloseConnection(self.conn)
            yield ReceiveHttp(
                self.ReceiveProtocolError(self.stream_id, "sent ahead too much", ErrorCode.CLIENT_DISCONNECTED)
            )
            self.state = self.done
            return
        yield from super().wait(event)

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        # The stream turns every error that can still be answered into a refusal; what is left is a broken connection.
        if isinstance(event, ResponseProtocolError):
            if self.request is not None and self.response is not None:
                if http1.expected_http_body_size(self.request, self.response) == -1:
                    # The end of the connection would be that of the body.
                    self.conn.error = CUT
            if self.conn.state & ConnectionState.CAN_WRITE:
                yield commands.CloseConnection(self.conn)
            return
        yield from super().send(event)

    def _refuse(self, reason: Reason, detail: str) -> layer.CommandGenerator[None]:
        yield commands.SendData(self.conn, self.refuse(reason, detail))
        yield commands.CloseConnection(self.conn)
        self.state = self.done


class UpstreamSide(_Bounded, _http1.Http1Client):
    """The connection to the upstream."""

    interim = 0

    def mark_done(self, *, request: bool = False, response: bool = False) -> layer.CommandGenerator[None]:
        yield from super().mark_done(request=request, response=response)
        if self.stream_id is None:
            self.interim = 0
        if self.response_done and not self.request_done and self.state == self.read_body:
            self.state = self._answered
            if self.buf or not self.conn.state & ConnectionState.CAN_READ:
                yield from self._fail("it takes no more")

    def _answered(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The answer came before the request was whole; nothing more is due until it is."""
        if isinstance(event, events.DataReceived | events.ConnectionClosed):
            yield from self._fail("it takes no more")

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        cut = isinstance(event, events.ConnectionClosed) and self.conn.error is not None
        if cut and isinstance(self.body_reader, Http10Reader):
            # Only a proper end tells that such a body is whole (RFC 9112 section 9.8).
            yield from self._fail("cut inside a body that the end of the connection ends")
            return
        yield from super().read_body(event)

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            if self.request is None:
                yield commands.CloseConnection(self.conn)
                return
            while _INTERIM.match(self.buf._data):
                if self.buf.maybe_extract_lines() is None:
                    break
                self.interim += 1
                if self.interim > limits.MAX_INTERIM:
                    yield from self._fail("too many interim answers")
                    return
            if not self.buf:
                return
            if b"\n" in self.buf._data and not _STATUS_LINE.match(self.buf._data):
                yield from self._fail("the status line is malformed")
                return
            if len(self.buf) > limits.MAX_HEAD and b"\n\r\n" not in self.buf._data[: limits.MAX_HEAD]:
                yield from self._fail("the response head is too large")
                return
        yield from super().read_headers(event)

    def _fail(self, why: str) -> layer.CommandGenerator[None]:
        assert self.stream_id is not None
        yield commands.CloseConnection(self.conn)
        yield ReceiveHttp(ResponseProtocolError(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))
        self.state = self.done
