"""One HTTP exchange in mitmproxy's terms: judged on its head, refused at once or streamed, never buffered.

Restates the states of mitmproxy 12.2.3's `HttpStream` that fail open, buffer, or talk to the network before
the policy has spoken (see tests/engine/test_mirrored.py). What may happen is always read from the
`Exchange`: a flow without one, or one that is not allowed, goes nowhere.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    HttpConnectErrorHook,
    HttpConnectHook,
    HTTPMode,
    HttpRequestHeadersHook,
    HttpResponseHeadersHook,
    HttpStream,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)

from proxy import limits
from proxy.credentials.decode import DecodeError
from proxy.credentials.scrub import Mask
from proxy.credentials.sources import CredentialUnavailable
from proxy.dial import DialError
from proxy.engine.http1 import BrokenBody
from proxy.engine.http2_upstream import Departure
from proxy.engine.inside import Entrance
from proxy.engine.state import (
    Services,
    attach_exchange,
    attach_mask,
    exchange_of,
    outbound_of,
    services_of,
    session_of,
)
from proxy.engine.tunnel import Tunnel
from proxy.engine.wire import check_upstream, clean_trailers, copy_head, head_of, to_flow_response, upstream_request
from proxy.exchange import Exchange
from proxy.policy.reason import Reason
from proxy.refusal import refuse
from proxy.session import Session

type BodyStream = Callable[[bytes], Iterable[bytes]]
"""What `judge_response` has a body pass."""


class Pause(commands.RequestWakeup):
    """Go on with an answer when the client has taken what it was sent; until then nothing is read of the upstream."""

    def __init__(self, upstream: Connection) -> None:
        super().__init__(0)
        self.upstream = upstream


class Stream(HttpStream):
    """An HTTP stream that obeys its exchange.

    `pieces` is what is left of the first event in `arrived`, while the client takes what came before. `gathered` is the
    body of a request that is answered here and needs it.
    """

    discarded = 0
    answered = False
    ended = False
    mask: Mask | None = None

    def __init__(self, context: Context, stream_id: int) -> None:
        super().__init__(context, stream_id)
        self.arrived: deque[events.Event] = deque()
        self.pieces: Iterator[bytes] | None = None
        self.gathered = bytearray()

    @property
    def services(self) -> Services:
        return services_of(self.context.client)

    @property
    def session(self) -> Session:
        return session_of(self.context.client)

    @property
    def exchange(self) -> Exchange:
        """The flow's exchange; if the gate has not spoken one that refuses everything, the CONNECT's for its first."""
        exchange = exchange_of(self.flow)
        if exchange is None:
            exchange, self.session.connecting = self.session.connecting or self.session.new_exchange(), None
            attach_exchange(self.flow, exchange)
        return exchange

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self._wake(event) if isinstance(event, events.Wakeup) else super()._handle_event(event)

    # --- request ---

    def state_wait_for_request_headers(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.state_wait_for_request_headers`."""
        if not self.context.client.state & ConnectionState.CAN_WRITE:
            # It was read together with the last one that is answered here.
            yield DropStream(self.stream_id)
            return
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = event.request
        self.flow.live = True
        if event.request.data.method.upper() == b"CONNECT":
            yield from self.handle_connect()
            return
        yield HttpRequestHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        if not self.exchange.allowed:
            yield from self.refuse()
        elif self.exchange.internal:
            yield from self._answer_here(end_stream=event.end_stream)
        else:
            yield from self._forward(end_stream=event.end_stream)

    def _forward(self, *, end_stream: bool) -> layer.CommandGenerator[None]:
        if not (yield from self.make_server_connection()):
            return
        outbound = outbound_of(self.flow)
        assert outbound is not None
        try:
            request, self.mask = upstream_request(
                self.services.gate, outbound, self.flow.request, self.context.server, end_stream=end_stream
            )
        except CredentialUnavailable as error:
            yield from self.refuse(Reason.CREDENTIAL_UNAVAILABLE, str(error))
            return
        except DialError as error:
            yield from self.refuse(error.reason, str(error))
            return
        if not end_stream:
            yield from self._invite()
        self.exchange.sent = True
        yield SendHttp(Departure(self.stream_id, request, end_stream, exchange=self.exchange), self.context.server)
        self.flow.request.stream = self._count_out
        self.client_state = self.state_stream_request_body
        self.server_state = self.state_wait_for_response_headers

    def _invite(self) -> layer.CommandGenerator[None]:
        """Ask for the body, if the client waits for that. Only now: a refused request is never invited to send it."""
        if self.flow.request.headers.get("expect") and self.flow.request.http_version != "HTTP/1.0":
            interim = http.Response.make(100)
            interim.headers.clear()
            yield SendHttp(ResponseHeaders(self.stream_id, interim), self.context.client)

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        """Mirrors `HttpStream.make_server_connection`; the destination is the one that was judged."""
        outbound = outbound_of(self.flow)
        assert outbound is not None
        request = outbound.request
        connection, error = yield GetHttpConnection(
            (request.host.name, request.port), request.scheme == "https", None, "tcp"
        )
        if error:
            yield from self.refuse(*_dial_reason(error))
            return False
        self.context.server = self.flow.server_conn = connection
        try:
            check_upstream(self.services.dialer, outbound, connection)
        except DialError as problem:
            yield from self.refuse(problem.reason, str(problem))
            return False
        exchange = outbound.exchange
        exchange.upstream_ip = connection.peername[0] if connection.peername else None
        exchange.tls = connection.tls_version
        return True

    def state_stream_request_body(
        self, event: RequestData | RequestTrailers | RequestEndOfMessage
    ) -> layer.CommandGenerator[None]:
        # The head was judged; fields that come after the body were not, so they go nowhere.
        if not isinstance(event, RequestTrailers):
            yield from super().state_stream_request_body(event)

    def _count_out(self, data: bytes) -> bytes | list[bytes]:
        self.exchange.bytes_out += len(data)
        # An empty chunk would end a chunked body early.
        return data or []

    # --- response ---

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.state_wait_for_response_headers`."""
        # A copy: the upstream side reads its own headers again when it decides whether to keep the connection.
        self.flow.response = copy_head(event.response)
        attach_mask(self.flow, self.mask)
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        if not self.exchange.allowed:
            yield SendHttp(RequestProtocolError(self.stream_id, "refused", ErrorCode.CANCEL), self.context.server)
            yield from self.refuse()
            return
        self.answered = True
        if event.end_stream:
            self.server_state = self.state_consume_response_body
        else:
            yield from self.start_response_stream()

    def state_stream_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.state_stream_response_body`; what one read decodes to goes out in portions."""
        if not isinstance(event, events.Wakeup):
            self.arrived.append(event)
            if self.pieces is not None:
                return
        try:
            while self.arrived:
                if not (yield from self._pass_on(self.arrived[0])):
                    yield Pause(self.context.server)
                    return
                self.arrived.popleft()
        except DecodeError as error:
            self.exchange.detail = str(error)
            yield SendHttp(RequestProtocolError(self.stream_id, "broken", ErrorCode.CANCEL), self.context.server)
            broken = ResponseProtocolError(self.stream_id, "broken", ErrorCode.GENERIC_SERVER_ERROR)
            yield from self.handle_protocol_error(broken)

    def _wake(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self.server_state == self.state_stream_response_body:  # else the exchange ended meanwhile
            yield from self.state_stream_response_body(event)

    def _pass_on(self, event: events.Event) -> layer.CommandGenerator[bool]:
        """Hand on one event of the answer; false after a portion of what it decodes to."""
        if isinstance(event, ResponseTrailers):
            event = ResponseTrailers(event.stream_id, clean_trailers(event.trailers, self.mask))
        if not isinstance(event, ResponseData):
            yield from super().state_stream_response_body(event)
            return True
        if self.pieces is None:
            assert self.flow.response is not None
            self.pieces = iter(cast(BodyStream, self.flow.response.stream)(event.data))
        passed = 0
        for piece in self.pieces:
            yield SendHttp(ResponseData(self.stream_id, piece), self.context.client)
            passed += len(piece)
            if passed >= limits.MAX_PORTION:
                return False
        self.pieces = None
        return True

    def state_consume_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, ResponseTrailers):
            event = ResponseTrailers(event.stream_id, clean_trailers(event.trailers, self.mask))
        yield from super().state_consume_response_body(event)

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        """Send the end of a whole answer, even if its request is still on its way: its client may wait for it."""
        yield from super().send_response(already_streamed)
        if self.server_state == self.state_done and self.client_state != self.state_done:
            yield from self._end_response()

    def _end_response(self) -> layer.CommandGenerator[None]:
        if not self.ended:
            self.ended = True
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        upstream_failed = isinstance(event, ResponseProtocolError)
        if upstream_failed and not self.answered and self.server_state == self.state_wait_for_response_headers:
            yield from self.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream closed without a valid answer")
            return
        if isinstance(event, BrokenBody):
            yield from self._refuse_body(event)
            return
        yield from self._give_up(event)

    def _give_up(self, event: RequestProtocolError | ResponseProtocolError) -> layer.CommandGenerator[None]:
        if self.server_state == self.state_done and self.client_state == self.state_stream_request_body:
            yield from self._abandon_request(event)
            return
        if exchange_of(self.flow) is not None:
            upstream_failed = isinstance(event, ResponseProtocolError)
            self.exchange.end = self.exchange.end or ("upstream_closed" if upstream_failed else "client_closed")
        yield from super().handle_protocol_error(event)

    def _refuse_body(self, event: BrokenBody) -> layer.CommandGenerator[None]:
        if self.answered:
            yield from self._give_up(event)
            yield commands.CloseConnection(self.context.client)
            return
        if self.exchange.sent:
            yield SendHttp(RequestProtocolError(self.stream_id, "broken", ErrorCode.CANCEL), self.context.server)
        yield from self.refuse(Reason.MALFORMED_REQUEST, event.message)

    def _abandon_request(self, event: RequestProtocolError | ResponseProtocolError) -> layer.CommandGenerator[None]:
        """The answer is whole, and one side gives up the rest of the request. An upstream may: RFC 9113 section 8.1."""
        self.flow.live = False
        self.client_state = self.server_state = self.state_errored
        if isinstance(event, ResponseProtocolError):
            self.services.gate.finish(self.session, self.exchange, "complete")
            return
        self.services.gate.finish(self.session, self.exchange, "client_closed")
        yield SendHttp(event, self.context.server)
        yield DropStream(self.stream_id)

    def flow_done(self) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.flow_done`: after 101 the frames are relayed as they are, so nothing piles up."""
        self.flow.live = False
        assert self.flow.response is not None
        if self.flow.response.status_code != 101:
            # Both directions are done. An upload that goes on after its answer is part of the exchange.
            self.services.gate.finish(self.session, self.exchange, "complete")
            yield DropStream(self.stream_id)
            yield from self._end_response()
            return
        self.child_layer = Tunnel(self.context, self.exchange, self.mask)
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    # --- answers of our own ---

    def _answer_here(self, *, end_stream: bool) -> layer.CommandGenerator[None]:
        """Answer what is asked of Outgate itself, from the head alone unless the body counts."""
        if end_stream or not self.services.gate.desk.takes_body(self.exchange):
            yield from self._answer(b"")
            return
        self.session.head_since = time.monotonic()  # the body has the time that a head has
        self.client_state = self.state_gather_request_body
        yield from self._invite()

    def state_gather_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData):
            self.gathered += event.data[: limits.MAX_ACCESS + 1 - len(self.gathered)]
            if len(self.gathered) <= limits.MAX_ACCESS:
                return
        elif not isinstance(event, RequestEndOfMessage):
            return
        else:
            self.client_state = self.state_done
        self.session.head_since = None
        yield from self._answer(bytes(self.gathered))

    def _answer(self, body: bytes) -> layer.CommandGenerator[None]:
        response = self.services.gate.answer(self.session, self.exchange, head_of(self.flow.request), body)
        if response is None:
            yield from self.refuse()
        else:
            last = response.status >= 400 and self.session.refused_too_often()
            yield from self._end_with(to_flow_response(response), "complete", last=last)

    def refuse(self, reason: Reason | None = None, detail: str = "") -> layer.CommandGenerator[None]:
        """Answer with the refusal at once; the rest of the request is read and thrown away."""
        exchange = self.exchange
        if reason is not None:
            exchange.refuse(reason, detail)
        self.services.gate.note_refusal(exchange)
        response = to_flow_response(refuse(exchange))
        # Where a head ends may be in doubt, and then what follows is its body or another request: read no more.
        last = exchange.decision.reason is Reason.MALFORMED_REQUEST and not self.flow.request.is_http2
        yield from self._end_with(response, "refused", last=self.session.refused_too_often() or last)

    def _end_with(self, response: http.Response, end: str, *, last: bool = False) -> layer.CommandGenerator[None]:
        """Send a whole answer of our own; what is still to come of the request is thrown away."""
        self.answered = True
        self.exchange.status = response.status_code
        self.flow.response = response
        if last and not self.flow.request.is_http2:
            response.headers["connection"] = "close"
        yield from self._send(response)
        self.services.gate.finish(self.session, self.exchange, end)
        self.flow.live = False
        done = self.client_state in (self.state_done, self.state_errored)
        self.client_state = self.server_state = self.state_errored
        if last:
            yield commands.CloseConnection(self.context.client)
        if done:
            yield DropStream(self.stream_id)

    def state_errored(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData):
            self.discarded += len(event.data)
            if self.discarded > limits.MAX_DISCARD:
                yield commands.CloseConnection(self.context.client)
        elif isinstance(event, RequestEndOfMessage):
            yield DropStream(self.stream_id)

    def _send(self, response: http.Response) -> layer.CommandGenerator[None]:
        content = response.raw_content
        yield SendHttp(ResponseHeaders(self.stream_id, response, not content), self.context.client)
        if content:
            yield SendHttp(ResponseData(self.stream_id, content), self.context.client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    # --- CONNECT ---

    def handle_connect(self) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.handle_connect`: nothing is dialled here but a tunnel that a rule opens."""
        self.client_state = self.state_done
        yield HttpConnectHook(self.flow)
        if (yield from self.check_killed(False)):
            return
        exchange, session = self.exchange, self.session
        if exchange.allowed and self.mode is HTTPMode.regular and session.target is not None:
            self.context.server.address = (session.target.host.name, session.target.port)
            if session.connect.tunnel:
                error = yield commands.OpenConnection(self.context.server)
                if error:
                    exchange.refuse(*_dial_reason(error))
                elif self.context.server.peername:
                    exchange.upstream_ip = self.context.server.peername[0]
                self.child_layer = Tunnel(self.context, exchange)
            else:
                self.child_layer = Entrance(self.context)
            if exchange.allowed:
                yield from self.handle_connect_finish()  # type: ignore[no-untyped-call]
                return
        self.child_layer = None
        yield from self._refuse_connect(exchange)

    def passthrough(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Mirrors `HttpStream.passthrough`, but half of a connection of a tunnel can be closed."""
        if not isinstance(self.child_layer, Tunnel) or self.flow.request.method != "CONNECT":
            yield from super().passthrough(event)
            return
        if isinstance(event, RequestData):
            event = events.DataReceived(self.context.client, event.data)
        elif isinstance(event, RequestEndOfMessage):
            event = events.ConnectionClosed(self.context.client)
        yield from self.child_layer.handle_event(event)

    def _refuse_connect(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        self.services.gate.note_refusal(exchange)
        self.flow.response = to_flow_response(refuse(exchange, connect=True))
        exchange.status = self.flow.response.status_code
        yield HttpConnectErrorHook(self.flow)
        self.flow.live = False
        self.session.refused_too_often()  # a refused CONNECT is the last one in any case, but for a challenge
        yield from self._send(self.flow.response)
        self.services.gate.finish(self.session, exchange, "refused")
        self.client_state = self.server_state = self.state_errored
        yield DropStream(self.stream_id)


def _dial_reason(error: str) -> tuple[Reason, str]:
    """Reason and detail of a failed connection: our handler writes `reason: detail`, mitmproxy's TLS layer prose."""
    code, _, detail = error.partition(": ")
    if code in Reason:
        return Reason(code), detail
    if error.startswith("Certificate verify failed"):
        return Reason.UPSTREAM_UNVERIFIED, error
    return Reason.UPSTREAM_UNREACHABLE, error
