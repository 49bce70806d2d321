"""HTTP/2 to the upstream: what waits for room can still be cancelled, and an upstream that leaves ends its answers.

Restates the queue of mitmproxy 12.2.3's `Http2Client` (see tests/engine/test_mirrored.py).
"""

import re
from dataclasses import dataclass, field

import h2.errors
import h2.events
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    Http2Client,
    ReceiveHttp,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._base import HttpEvent

from proxy.engine.http2_frames import Frames, Leaving, length_of
from proxy.exchange import Exchange

_STATUS = re.compile(rb"[0-9]{3}")
_BODILESS = (b"204", b"304")  # whose length is that of another answer


@dataclass
class Departure(RequestHeaders):
    """The head of a request on its way upstream, with the exchange whose record says whether it went."""

    exchange: Exchange = field(kw_only=True)
    injected: bool = False


class UpstreamSide(Http2Client):
    """The HTTP/2 connection to the upstream.

    `waiting` holds, by the client's stream, requests for which the upstream has no room yet; mitmproxy's own queue
    stays empty: it sends what was cancelled. `leaving` says that nothing new may go this way.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.h2_conn = Frames(self.h2_conf)
        self.h2_conn.local_settings.enable_push = 0
        self.h2_conn.local_settings.acknowledge()
        self.missing: dict[int, int] = {}  # by stream, what its content-length still promises
        self.waiting: dict[int, list[HttpEvent]] = {}
        self.leaving = False
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, HttpEvent) and event.stream_id not in self.our_stream_id:
            self._hold(event)
        else:
            yield from super()._handle_event(event)
        while self.waiting and (self.leaving or self._room()):
            yield from self._release(next(iter(self.waiting)))
        if self.leaving and not self.closed and not self.h2_conn.open_outbound_streams:
            self.streams.clear()
            yield from self.close_connection("the last stream has ended")

    def _room(self) -> bool:
        allowed = self.provisional_max_concurrency or self.h2_conn.remote_settings.max_concurrent_streams
        return self.h2_conn.open_outbound_streams < allowed

    def _hold(self, event: HttpEvent) -> None:
        if isinstance(event, Departure):
            self.waiting[event.stream_id] = [event]
            exchange = event.exchange
            event.injected, exchange.injected, exchange.sent = exchange.injected, False, False
        elif isinstance(event, RequestProtocolError):
            # Cancelled: its record is closed, so it must never be sent.
            self.waiting.pop(event.stream_id, None)
        elif event.stream_id in self.waiting:
            self.waiting[event.stream_id].append(event)

    def _release(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Send what waited, or fail it if it cannot go any more."""
        head, *body = self.waiting.pop(stream_id)
        assert isinstance(head, Departure)
        exchange = head.exchange
        if self.leaving or exchange.recorded or not exchange.allowed:
            yield ReceiveHttp(ResponseProtocolError(stream_id, "never sent", ErrorCode.GENERIC_SERVER_ERROR))
            return
        exchange.injected, exchange.sent = head.injected, True
        for event in (head, *body):
            yield from super()._handle_event(event)

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, Leaving):
            self.leaving = True
            for stream_id in [each for each in self.streams if each > event.last_stream_id]:
                yield from self._fail(stream_id, "the upstream takes no more requests")
            return False
        if not self._fits(event) and event.stream_id in self.streams:  # type: ignore[attr-defined]
            yield from self._fail(event.stream_id, "the answer is malformed")  # type: ignore[attr-defined]
            return False
        return (yield from super().handle_h2_event(event))

    def _fits(self, event: h2.events.Event) -> bool:
        """Whether an answer has the form of one, and the length that it says: `h2` counts data alone, and a head or
        trailers can end a body, too.
        """
        if isinstance(event, h2.events.ResponseReceived):
            return self._begins_well(event)
        if isinstance(event, h2.events.DataReceived) and self.missing.get(event.stream_id):
            self.missing[event.stream_id] -= len(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            return not self.missing.pop(event.stream_id, 0)
        elif isinstance(event, h2.events.StreamReset):
            self.missing.pop(event.stream_id, None)
        return True

    def _begins_well(self, event: h2.events.ResponseReceived) -> bool:
        stream_id, (_, status) = event.stream_id, event.headers[0]
        assert stream_id is not None
        stream = self.h2_conn.streams.get(stream_id)
        bodiless = status in _BODILESS or (stream is not None and stream.request_method == b"HEAD")
        length = 0 if bodiless else length_of(event.headers)
        if length:
            self.missing[stream_id] = length
        return _STATUS.fullmatch(status) is not None and not (length and event.stream_ended)

    def _fail(self, stream_id: int, message: str) -> layer.CommandGenerator[None]:
        del self.streams[stream_id]
        self.missing.pop(stream_id, None)
        if not self.is_closed(stream_id):
            self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
        yield ReceiveHttp(ResponseProtocolError(stream_id, message, ErrorCode.GENERIC_SERVER_ERROR))

    def close_connection(self, msg: str) -> layer.CommandGenerator[None]:
        self.leaving = self.closed = True
        yield from super().close_connection(msg)

    def unsent(self) -> int:
        """Bytes of requests that wait."""
        return sum(_size(event) for waiting in self.waiting.values() for event in waiting)


def _size(event: HttpEvent) -> int:
    if isinstance(event, RequestHeaders):
        data = event.request.data
        return len(data.path) + sum(len(name) + len(value) for name, value in data.headers.fields)
    return len(event.data) if isinstance(event, RequestData) else 0
