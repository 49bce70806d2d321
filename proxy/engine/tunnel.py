"""A relay of bytes in mitmproxy's layers: a tunnel that a rule opens, or the frames of a WebSocket."""

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context

from proxy.credentials.scrub import Mask
from proxy.engine.state import services_of, session_of
from proxy.exchange import Exchange
from proxy.passage import Passage


class Tunnel(layer.Layer):
    """Relays between client and server until both have said all, or one is gone; then the exchange is recorded."""

    def __init__(self, context: Context, exchange: Exchange, mask: Mask | None = None) -> None:
        super().__init__(context)
        self.exchange = exchange
        self.passage = Passage(services_of(context.client).gate, session_of(context.client), exchange, mask)
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived) and not self.closed:
            if event.connection == self.context.client:
                yield from self._from_client(event.data)
            else:
                for piece in self.passage.to_client(event.data):
                    yield commands.SendData(self.context.client, piece)
        elif isinstance(event, events.ConnectionClosed) and not self.closed:
            yield from self._ended(event.connection)

    def _from_client(self, data: bytes) -> layer.CommandGenerator[None]:
        passing = self.passage.to_server(data)
        if passing is None:
            yield from self._close("refused")
        elif passing:
            yield commands.SendData(self.context.server, passing)

    def _ended(self, connection: Connection) -> layer.CommandGenerator[None]:
        """One side has said all. In a tunnel the other may go on; a WebSocket ends as a whole."""
        from_client = connection == self.context.client
        end = "client_closed" if from_client else "upstream_closed"
        other = self.context.server if from_client else self.context.client
        listens = connection.state & ConnectionState.CAN_WRITE and connection.error is None
        if self.passage.may_half_close and listens and other.state & ConnectionState.CAN_READ:
            self.exchange.end = end
            yield commands.CloseTcpConnection(other, half_close=True)
        else:
            yield from self._close(end)

    def _close(self, end: str) -> layer.CommandGenerator[None]:
        self.closed = True
        for piece in self.passage.rest():
            yield commands.SendData(self.context.client, piece)
        for connection in (self.context.client, self.context.server):
            if connection.connected or connection.state:
                yield commands.CloseConnection(connection)
        services_of(self.context.client).gate.finish(session_of(self.context.client), self.exchange, end)
