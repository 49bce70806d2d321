"""A relay of bytes: a tunnel that a rule opens, or the frames of a WebSocket. Counts, scrubs, holds nothing back.

The TLS hellos in a tunnel are judged: their server name must be the tunnel's host. A client has no longer for its first
bytes than for a head, unless its server speaks first.
"""

import time

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.tls import ClientHello

from proxy.credentials.scrub import Scrubber
from proxy.engine.hello import BadHello, judge_hello
from proxy.engine.hellos import Hellos
from proxy.engine.state import services_of, session_of
from proxy.exchange import Exchange
from proxy.policy.reason import Reason


class Tunnel(layer.Layer):
    """Relays between client and server until both have said all, or one is gone; then the exchange is recorded."""

    def __init__(self, context: Context, exchange: Exchange, scrubber: Scrubber | None = None) -> None:
        super().__init__(context)
        self.exchange = exchange
        self.scrubber = scrubber
        self.hellos = Hellos(self._judge) if exchange.tunnel else None
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start) and self.hellos is not None:
            session_of(self.context.client).head_since = time.monotonic()
        elif isinstance(event, events.DataReceived) and not self.closed:
            if event.connection == self.context.client:
                yield from self._from_client(event.data)
            else:
                yield from self._from_server(event.data)
        elif isinstance(event, events.ConnectionClosed) and not self.closed:
            yield from self._ended(event.connection)

    def _from_client(self, data: bytes) -> layer.CommandGenerator[None]:
        if self.hellos is not None:
            session = session_of(self.context.client)
            if not self.hellos.begun:
                session.head_since = session.head_since or time.monotonic()
            try:
                data = self.hellos.from_client(data)
            except BadHello as error:
                session.bar(Reason.PROTOCOL_NOT_ALLOWED, str(error))
            if session.barred is not None:
                self.exchange.refuse(*session.barred)
                yield from self._close("refused")
                return
            if not self.hellos.begun:
                return
            session.head_since = None
        self.exchange.bytes_out += len(data)
        yield commands.SendData(self.context.server, data)

    def _from_server(self, data: bytes) -> layer.CommandGenerator[None]:
        self.exchange.bytes_in += len(data)
        if self.hellos is not None:
            self.hellos.from_server(data)
            if not self.hellos.begun and not self.hellos.held:
                session_of(self.context.client).head_since = None
        pieces = [data] if self.scrubber is None else self.scrubber.feed(data)
        for piece in pieces:
            if self.exchange.meter is not None:
                self.exchange.meter.feed(piece)
            yield commands.SendData(self.context.client, piece)

    def _judge(self, hello: ClientHello) -> None:
        client = self.context.client
        judge_hello(services_of(client).gate, session_of(client), hello)

    def _ended(self, connection: Connection) -> layer.CommandGenerator[None]:
        """One side has said all. In a tunnel the other may go on; a WebSocket ends as a whole."""
        from_client = connection == self.context.client
        end = "client_closed" if from_client else "upstream_closed"
        other = self.context.server if from_client else self.context.client
        listens = connection.state & ConnectionState.CAN_WRITE and connection.error is None
        held = self.hellos is not None and self.hellos.held
        if self.exchange.tunnel and not held and listens and other.state & ConnectionState.CAN_READ:
            self.exchange.end = end
            yield commands.CloseTcpConnection(other, half_close=True)
        else:
            yield from self._close(end)

    def _close(self, end: str) -> layer.CommandGenerator[None]:
        self.closed = True
        if self.scrubber is not None:
            for piece in self.scrubber.flush():
                yield commands.SendData(self.context.client, piece)
        for connection in (self.context.client, self.context.server):
            if connection.connected or connection.state:
                yield commands.CloseConnection(connection)
        services_of(self.context.client).gate.finish(session_of(self.context.client), self.exchange, end)
