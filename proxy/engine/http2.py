"""HTTP/2 to the client, with what mitmproxy 12.2.3 lacks: back-pressure on both sides, budgets, a record of rubbish.

mitmproxy grants every peer an endless window and queues what cannot be sent. `congested` tells the handler
to stop reading from one connection while the others of the same client hold too much.
"""

import time
from collections.abc import Callable, Iterable, Sized

import h2.errors
import h2.events
from mitmproxy.connection import Connection
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import ErrorCode, Http2Client, Http2Server, ReceiveHttp, RequestProtocolError
from mitmproxy.proxy.layers.http._http2 import StreamState

from proxy import limits
from proxy.engine.http2_frames import Exhausted, Frames, length_of
from proxy.engine.http2_upstream import UpstreamSide
from proxy.engine.state import session_of
from proxy.policy.reason import Reason

type Recorder = Callable[[Reason, str], object]
"""Records a request that never became one."""


class ClientSide(Http2Server):
    """The HTTP/2 connection to the client. `live` are the requests that run, `record` notes what never became one."""

    h2_conn: Frames

    def __init__(self, context: Context, record: Recorder, live: Sized) -> None:
        super().__init__(context)
        self.h2_conn = Frames(self.h2_conf)
        self.record = record
        self.live = live
        self.missing: dict[int, int] = {}  # by stream, what its content-length still promises

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        session = session_of(self.context.client)
        if session.connecting is not None and isinstance(event, events.DataReceived):
            session.head_since = (session.head_since or time.monotonic()) if self.h2_conn.begun else None

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        try:
            if isinstance(event, Exhausted):
                raise event
            return (yield from self._take(event))
        except Exhausted as error:
            self.record(Reason.LIMIT_EXCEEDED, str(error))
            yield from super().protocol_error(str(error), error.error_code)
            return True

    def _take(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.RequestReceived) and self._turned_down(event):
            return False
        if isinstance(event, h2.events.DataReceived) and event.stream_id in self.missing:
            self.missing[event.stream_id] -= len(event.data)
        elif isinstance(event, h2.events.StreamEnded) and self.missing.pop(event.stream_id, 0):
            # `h2` counts data alone, and here trailers ended the body.
            self._reset(event.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            self.streams.pop(event.stream_id, None)
            message = "the body is not as long as it said"
            yield ReceiveHttp(RequestProtocolError(event.stream_id, message, ErrorCode.GENERIC_CLIENT_ERROR))
            return False
        elif isinstance(event, h2.events.StreamReset):
            self.missing.pop(event.stream_id, None)
            # mitmproxy forgets a stream whose end and reset come together, and then ignores the reset.
            self.streams[event.stream_id] = StreamState.HEADERS_RECEIVED
        return (yield from super().handle_h2_event(event))

    def _turned_down(self, event: h2.events.RequestReceived) -> bool:
        """Reset a request that must not begin, and record it. A number that is none is for the gate to refuse."""
        length, stream_id = length_of(event.headers), event.stream_id
        assert stream_id is not None
        if len(self.live) >= limits.MAX_HTTP2_STREAMS:
            # Those that `h2` counts are fewer: a reset stream is none to it, and may yet wait for a dial.
            self.record(Reason.LIMIT_EXCEEDED, "too many requests at once")
            self._reset(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        elif length and event.stream_ended:
            self.record(Reason.MALFORMED_REQUEST, "a content-length without a body")
            self._reset(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        else:
            if length:
                self.missing[stream_id] = length
            return False
        return True

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        if not self.is_closed(stream_id):
            self.h2_conn.reset_stream(stream_id, code)
        self.h2_conn.note_reset()

    def protocol_error(
        self, message: str, error_code: int = h2.errors.ErrorCodes.PROTOCOL_ERROR
    ) -> layer.CommandGenerator[None]:
        self.record(Reason.MALFORMED_REQUEST, "the HTTP/2 connection is malformed")
        yield from super().protocol_error(message, error_code)


def leaving(connections: Iterable[Http2Server | Http2Client], connection: Connection) -> bool:
    """Whether an upstream takes no new request on a connection that is still open."""
    return any(isinstance(each, UpstreamSide) and each.conn is connection and each.leaving for each in connections)


def congested(connections: Iterable[Http2Server | Http2Client], reading_from: Connection | None) -> bool:
    """Whether more data must not be read from a connection now, because the others cannot send what they hold."""
    held = sum(_unsent(each) for each in connections if each.conn is not reading_from)
    return held > limits.MAX_HTTP2_BUFFER


def _unsent(connection: Http2Server | Http2Client) -> int:
    held = sum(len(chunk.data) for queue in connection.h2_conn.stream_buffers.values() for chunk in queue)
    if isinstance(connection, UpstreamSide):
        held += connection.unsent()
    return held
