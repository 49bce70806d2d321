"""A relay of bytes: a tunnel that a rule opens, or the frames of a WebSocket. Counts, scrubs, holds nothing back.

The first bytes of a tunnel are judged if they are a TLS hello: its server name must be the tunnel's host. A client
has no longer for them than for a head, unless its server speaks first.
"""

import time

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context

from proxy.credentials.scrub import Scrubber
from proxy.engine.hello import BadHello, hello_complete, judge_hello, looks_like_tls, read_hello
from proxy.engine.state import services_of, session_of
from proxy.exchange import Exchange
from proxy.policy.reason import Reason


class Tunnel(layer.Layer):
    """Relays between client and server until both have said all, or one is gone; then the exchange is recorded."""

    def __init__(self, context: Context, exchange: Exchange, scrubber: Scrubber | None = None) -> None:
        super().__init__(context)
        self.exchange = exchange
        self.scrubber = scrubber
        self.judged = not exchange.tunnel
        self.hello = bytearray()
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start) and not self.judged:
            session_of(self.context.client).head_since = time.monotonic()
        elif isinstance(event, events.DataReceived) and not self.closed:
            if event.connection == self.context.client:
                yield from self._from_client(event.data)
            else:
                yield from self._from_server(event.data)
        elif isinstance(event, events.ConnectionClosed) and not self.closed:
            yield from self._ended(event.connection)

    def _from_client(self, data: bytes) -> layer.CommandGenerator[None]:
        if not self.judged:
            session = session_of(self.context.client)
            session.head_since = session.head_since or time.monotonic()
            self.hello += data
            if not (yield from self._judge()):
                return
            session.head_since = None
            data = bytes(self.hello)
        self.exchange.bytes_out += len(data)
        yield commands.SendData(self.context.server, data)

    def _from_server(self, data: bytes) -> layer.CommandGenerator[None]:
        self.exchange.bytes_in += len(data)
        if not self.judged and not self.hello:
            session_of(self.context.client).head_since = None
        pieces = [data] if self.scrubber is None else self.scrubber.feed(data)
        for piece in pieces:
            if self.exchange.meter is not None:
                self.exchange.meter.feed(piece)
            yield commands.SendData(self.context.client, piece)

    def _judge(self) -> layer.CommandGenerator[bool]:
        """Whether the client's first bytes may pass; refuses what hides or misnames the host."""
        session, data = session_of(self.context.client), bytes(self.hello)
        if looks_like_tls(data):
            try:
                if not hello_complete(data):
                    return False
                judge_hello(services_of(self.context.client).gate, session, read_hello(data))
            except BadHello as error:
                session.bar(Reason.PROTOCOL_NOT_ALLOWED, str(error))
        if session.barred is not None:
            self.exchange.refuse(*session.barred)
            yield from self._close("refused")
            return False
        self.judged = True
        return True

    def _ended(self, connection: Connection) -> layer.CommandGenerator[None]:
        """One side has said all. In a tunnel the other may go on; a WebSocket ends as a whole."""
        from_client = connection == self.context.client
        end = "client_closed" if from_client else "upstream_closed"
        other = self.context.server if from_client else self.context.client
        listens = connection.state & ConnectionState.CAN_WRITE and connection.error is None
        judged = self.judged or not self.hello
        if self.exchange.tunnel and judged and listens and other.state & ConnectionState.CAN_READ:
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
