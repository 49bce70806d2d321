"""The layers of a connection, and which may follow which: HTTP to the proxy, TLS in CONNECT, HTTP in TLS. Nothing else.

Restates the places where mitmproxy 12.2.3 picks its own classes (see tests/engine/test_mirrored.py).
"""

import contextlib

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, ServerTLSLayer, modes
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HTTPMode,
    RegisterHttpConnection,
)
from mitmproxy.proxy.layers.http._base import HttpConnection
from mitmproxy.proxy.layers.tls import TLSLayer
from OpenSSL import SSL

from proxy import limits
from proxy.early import refuse_early
from proxy.engine import http1, http2, http2_upstream
from proxy.engine.inside import Inside
from proxy.engine.resuming import keep
from proxy.engine.state import http2_of, services_of, session_of
from proxy.engine.stream import Stream
from proxy.hello import BadHello, hello_complete
from proxy.policy.reason import Reason

# What a client may start a plain request inside CONNECT with: a method, never a server-speaks-first protocol.
_HTTP_START = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def next_layer(nextlayer: layer.NextLayer) -> layer.Layer | None:
    """The layer that may follow; None while more bytes are needed. Mirrors no stock behaviour: there, anything may."""
    context, data = nextlayer.context, nextlayer.data_client()
    stack = [type(each) for each in context.layers]
    if stack == [modes.HttpProxy]:
        if not data:
            return None
        return Refuse(context, "TLS to the proxy") if data[0] == 0x16 else Http(context, HTTPMode.regular)
    if stack == [Inside]:
        if data[:1] == b"\x16":
            return ClientTls(context) if starts_like_tls_record(data) else None if len(data) < 3 else _refuse(context)
        return Http(context, HTTPMode.transparent) if data[:1] and data[:1] in _HTTP_START else _refuse(context)
    if stack == [Inside, ClientTls]:
        return Refuse(context, "TLS inside TLS") if data[:1] == b"\x16" else Http(context, HTTPMode.transparent)
    return _refuse(context)


def _refuse(context: Context) -> "Refuse":
    return Refuse(context, "neither TLS nor HTTP")


class Gathering(TLSLayer):
    """TLS that encrypts what one event made in one go: head and body share a record, and a way through the layers."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)  # type: ignore[call-arg]  # both kinds that this is mixed into take the context alone
        self.unsent: list[bytes] = []
        self.closed = False

    def event_to_child(self, event: events.Event) -> layer.CommandGenerator[None]:
        # Past `ServerTLSLayer`: there is no hello of a client for which it would wait.
        yield from tunnel.TunnelLayer.event_to_child(self, event)
        if self.unsent:
            yield from self._send_gathered()

    def send_data(self, data: bytes) -> layer.CommandGenerator[None]:
        if not self.closed:
            self.unsent.append(data)
        yield from ()

    def send_close(self, command: commands.CloseConnection) -> layer.CommandGenerator[None]:
        yield from self._send_gathered()
        self.closed = True
        yield from super().send_close(command)

    def _send_gathered(self) -> layer.CommandGenerator[None]:
        if self.unsent:
            data = b"".join(self.unsent)
            self.unsent.clear()
            yield from super().send_data(data)


class UpstreamTls(Gathering, ServerTLSLayer):
    """TLS with the upstream."""

    def receive_close(self) -> layer.CommandGenerator[None]:
        if not self.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            # RFC 8446 section 6.1: without its goodbye, what came may not be all. OpenSSL and curl say so too.
            self.conn.error = "closed without close_notify"
        assert isinstance(self.conn, Server)
        keep(self.context.client, self.conn, self.tls)
        yield from super().receive_close()


class ClientTls(Gathering, ClientTLSLayer):
    """TLS with the client. The hello is gathered first: mitmproxy's parser starts over with every fragment."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.hello = bytearray()

    def receive_handshake_data(self, data: bytes) -> layer.CommandGenerator[tuple[bool, str | None]]:
        if self.client_hello_parsed:
            return (yield from super().receive_handshake_data(data))
        self.hello += data
        try:
            if not hello_complete(bytes(self.hello)):
                return False, None
        except BadHello as error:
            return False, str(error)
        return (yield from super().receive_handshake_data(bytes(self.hello)))

    def receive_data(self, data: bytes) -> layer.CommandGenerator[None]:
        # Behind a failed handshake nobody reads. Nor does OpenSSL behind a goodbye: what comes then would be kept.
        closed = self.tunnel_state is tunnel.TunnelState.CLOSED
        if not closed and not self.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            yield from super().receive_data(data)

    def receive_close(self) -> layer.CommandGenerator[None]:
        """Mirrors `TLSLayer.receive_close`: after close_notify a client may still listen, after a FIN none does."""
        self.conn.state = ConnectionState.CLOSED
        yield from self.event_to_child(events.ConnectionClosed(self.conn))

    def send_close(self, command: commands.CloseConnection) -> layer.CommandGenerator[None]:
        """Say goodbye, as mitmproxy does not: to a body that the connection ends, that alone is its end."""
        yield from self._send_gathered()
        if not self.closed and self.tunnel_state is tunnel.TunnelState.OPEN and self.conn.error != http1.CUT:
            with contextlib.suppress(SSL.Error):
                self.tls.shutdown()
            yield from self.tls_interact()
        yield from super().send_close(command)

    def on_handshake_error(self, err: str) -> layer.CommandGenerator[None]:
        session, gate = session_of(self.context.client), services_of(self.context.client).gate
        exchange, session.connecting = session.connecting, None
        if exchange is not None:
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, f"the client's TLS handshake failed: {err}")
            gate.finish(session, exchange, "aborted")
        yield from super().on_handshake_error(err)


class Refuse(layer.Layer):
    """Answers the first bytes of a protocol that cannot pass with a plain refusal, and closes."""

    def __init__(self, context: Context, detail: str) -> None:
        super().__init__(context)
        self.detail = detail

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield commands.SendData(
                self.context.client, refusal_bytes(self.context, Reason.PROTOCOL_NOT_ALLOWED, self.detail)
            )
            yield commands.CloseConnection(self.context.client)
            self._handle_event = self._done  # type: ignore[method-assign,assignment]

    def _done(self, _: events.Event) -> layer.CommandGenerator[None]:
        yield from ()


def refusal_bytes(context: Context, reason: Reason, detail: str) -> bytes:
    """Record something that never became a request, and return its refusal as HTTP/1 bytes."""
    return refuse_early(services_of(context.client).gate, session_of(context.client), reason, detail)


class Http(HttpLayer):
    """HTTP, with our connections and streams in place of mitmproxy's."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Mirrors `HttpLayer._handle_event` for `Start`: an entry that is there already is kept by it."""
        if isinstance(event, events.Start):
            self.connections[self.context.client] = self._client_side()
        elif isinstance(event, events.ConnectionEvent) and event.connection not in self.connections:
            # The last word of a connection that we closed ourselves, and have forgotten since.
            if event.connection is not self.context.server:
                return
        yield from super()._handle_event(event)
        if isinstance(event, events.OpenConnectionCompleted | events.ConnectionClosed):
            self._forget_closed()
        client_side = self.connections[self.context.client]
        while isinstance(client_side, http1.ClientSide) and client_side.due:
            client_side.due = False
            yield from self.event_to_child(client_side, events.DataReceived(self.context.client, b""))

    def _client_side(self) -> HttpConnection:
        context = self.context.fork()
        if self.context.client.alpn == b"h2":
            connection = http2.ClientSide(
                context, lambda reason, detail: refusal_bytes(self.context, reason, detail), self.streams
            )
            http2_of(self.context.client).append(connection)
            return connection
        return http1.ClientSide(context, lambda reason, detail: refusal_bytes(self.context, reason, detail))

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Mirrors `HttpLayer.make_stream`."""
        self.streams[stream_id] = Stream(self.context.fork(), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> layer.CommandGenerator[None]:
        """Mirrors `HttpLayer.get_connection`, without its eager, upstream-proxy and UDP branches."""
        for connection in self.connections if reuse else ():
            if not event.connection_spec_matches(connection):
                continue
            if connection in self.waiting_for_establishment:
                self.waiting_for_establishment[connection].append(event)
                return
            http2_to_http1 = self.context.client.alpn == b"h2" and connection.alpn != b"h2"
            leaving = http2.leaving(http2_of(self.context.client), connection)
            if connection.connected and not http2_to_http1 and not leaving:
                stream = self.command_sources.pop(event)
                yield from self.event_to_child(stream, GetHttpConnectionCompleted(event, (connection, None)))
                return
        self._forget_closed()
        yield from self._close_idle()
        context = self.context.fork()
        context.server = Server(address=event.address)
        stack = tunnel.LayerStack()
        if event.tls:
            context.server.sni = event.address[0]
            stack /= UpstreamTls(context)
        stack /= Client(context)
        self.connections[context.server] = stack[0]
        self.waiting_for_establishment[context.server].append(event)
        yield from self.event_to_child(stack[0], events.Start())

    def _forget_closed(self) -> None:
        """Let go of upstream connections that have closed and that no exchange uses: mitmproxy keeps them all.

        The layer around a tunnel has them as well: each goes through it.
        """
        dialled = {each.connection for each in self.command_sources if isinstance(each, commands.OpenConnection)}
        for connection in self._unused():
            if not connection.state and connection not in dialled:
                layer_of = self.connections.pop(connection)
                known = http2_of(self.context.client)
                known[:] = [each for each in known if each is not layer_of and each.conn is not connection]

    def _close_idle(self) -> layer.CommandGenerator[None]:
        """Make room for a connection: those that nobody uses close, from the oldest on."""
        idle = [each for each in self._unused() if each.state]
        for connection in idle[: max(0, len(idle) + 1 - limits.MAX_IDLE_UPSTREAMS)]:
            yield commands.CloseConnection(connection)

    def _unused(self) -> list[Server]:
        """The upstream connections that no exchange uses or waits for, in the order in which they were opened."""
        used = {stream.context.server for stream in self.streams.values()}
        return [
            each
            for each in self.connections
            if isinstance(each, Server) and each not in used and each not in self.waiting_for_establishment
        ]


class Client(layer.Layer):
    """Opens the upstream connection and speaks what was negotiated. Mirrors `HttpClient`."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        error = None
        if not self.context.server.connected:
            error = yield commands.OpenConnection(self.context.server)
        if not error:
            child: HttpConnection
            if self.context.server.alpn == b"h2":
                child = http2_upstream.UpstreamSide(self.context)
                http2_of(self.context.client).append(child)
            else:
                child = http1.UpstreamSide(self.context)
            self.handle_event = self._handle_event = child.handle_event  # type: ignore[method-assign]
            yield from child.handle_event(event)
        yield RegisterHttpConnection(self.context.server, error)
