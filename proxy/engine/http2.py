"""HTTP/2 on both sides, with what mitmproxy 12.2.3 lacks: back-pressure, a budget for resets, a record of rubbish.

mitmproxy grants every peer an endless window and queues what cannot be sent. `congested` tells the handler
to stop reading from one connection while the others of the same client hold too much.
"""

from collections.abc import Callable, Iterable

import h2.errors
import h2.events
import h2.exceptions
from mitmproxy.connection import Connection
from mitmproxy.proxy import layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import Http2Client, Http2Server, RequestData
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from proxy import limits
from proxy.policy.reason import Reason

type Recorder = Callable[[Reason, str], object]
"""Records a request that never became one."""


class _Merging(BufferedH2Connection):
    """Hands on the data frames of one read as one piece for each stream: small frames must not cost a turn each."""

    def receive_data(self, data: bytes) -> list[h2.events.Event]:
        merged: list[h2.events.Event] = []
        for event in super().receive_data(data):
            last = merged[-1] if merged else None
            if (
                isinstance(event, h2.events.DataReceived)
                and isinstance(last, h2.events.DataReceived)
                and event.stream_id == last.stream_id
            ):
                pieces = last.__dict__.setdefault("outgate_pieces", [last.data])
                pieces.append(event.data)
                last.flow_controlled_length += event.flow_controlled_length
                last.stream_ended = event.stream_ended
            else:
                merged.append(event)
        for event in merged:
            pieces = event.__dict__.pop("outgate_pieces", None)
            if pieces is not None:
                event.data = b"".join(pieces)  # type: ignore[attr-defined]
        return merged


class ClientSide(Http2Server):
    """The HTTP/2 connection to the client. `record` notes what broke it."""

    def __init__(self, context: Context, record: Recorder) -> None:
        super().__init__(context)
        self.h2_conn = _Merging(self.h2_conf)
        self.record = record
        self.resets = 0
        self.requests = 0

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, h2.events.RequestReceived):
            self.requests += 1
        elif isinstance(event, h2.events.StreamReset):
            self.resets += 1
            # A client may cancel now and then; one that resets most of what it starts is an attack (CVE-2023-44487).
            if self.resets > limits.MAX_HTTP2_RESETS and self.resets * 2 > self.requests:
                yield from self._end(Reason.LIMIT_EXCEEDED, "too many streams were reset")
                return True
        return (yield from super().handle_h2_event(event))

    def protocol_error(
        self, message: str, error_code: int = h2.errors.ErrorCodes.PROTOCOL_ERROR
    ) -> layer.CommandGenerator[None]:
        self.record(Reason.MALFORMED_REQUEST, "the HTTP/2 connection is malformed")
        yield from super().protocol_error(message, error_code)

    def _end(self, reason: Reason, detail: str) -> layer.CommandGenerator[None]:
        self.record(reason, detail)
        yield from super().protocol_error(detail, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)


class UpstreamSide(Http2Client):
    """The HTTP/2 connection to the upstream."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        merging = _Merging(self.h2_conf)
        merging.local_settings = self.h2_conn.local_settings
        self.h2_conn = merging


def congested(connections: Iterable[Http2Server | Http2Client], reading_from: Connection | None) -> bool:
    """Whether more data must not be read from a connection now, because the others cannot send what they hold."""
    held = sum(_unsent(each) for each in connections if each.conn is not reading_from)
    return held > limits.MAX_HTTP2_BUFFER


def _unsent(connection: Http2Server | Http2Client) -> int:
    held = sum(len(chunk.data) for queue in connection.h2_conn.stream_buffers.values() for chunk in queue)
    if isinstance(connection, Http2Client):
        # Whole requests that wait for the upstream to allow another stream.
        waiting = (event for events in connection.stream_queue.values() for event in events)
        held += sum(len(event.data) for event in waiting if isinstance(event, RequestData))
    return held
