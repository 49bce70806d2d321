"""A relay of bytes: a tunnel that a rule opens, or the frames of a WebSocket. Counts, scrubs, holds nothing back.

The first bytes of a tunnel are judged if they are a TLS hello: its server name must be the tunnel's host.
"""

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context

from proxy.credentials.scrub import Scrubber
from proxy.engine.hello import BadHello, hello_complete, judge_hello, looks_like_tls, read_hello
from proxy.engine.state import services_of, session_of
from proxy.exchange import Exchange
from proxy.policy.reason import Reason


class Tunnel(layer.Layer):
    """Relays between client and server until one of them closes; then the exchange is recorded."""

    def __init__(self, context: Context, exchange: Exchange, scrubber: Scrubber | None = None) -> None:
        super().__init__(context)
        self.exchange = exchange
        self.scrubber = scrubber
        self.judged = not exchange.tunnel
        self.hello = bytearray()
        self.closed = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived) and not self.closed:
            if event.connection == self.context.client:
                yield from self._from_client(event.data)
            else:
                yield from self._from_server(event.data)
        elif isinstance(event, events.ConnectionClosed) and not self.closed:
            yield from self._close("client_closed" if event.connection == self.context.client else "upstream_closed")

    def _from_client(self, data: bytes) -> layer.CommandGenerator[None]:
        if not self.judged:
            self.hello += data
            if not (yield from self._judge()):
                return
            data = bytes(self.hello)
        self.exchange.bytes_out += len(data)
        yield commands.SendData(self.context.server, data)

    def _from_server(self, data: bytes) -> layer.CommandGenerator[None]:
        self.exchange.bytes_in += len(data)
        pieces = [data] if self.scrubber is None else self.scrubber.feed(data)
        for piece in pieces:
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

    def _close(self, end: str) -> layer.CommandGenerator[None]:
        self.closed = True
        if self.scrubber is not None:
            for piece in self.scrubber.flush():
                yield commands.SendData(self.context.client, piece)
        for connection in (self.context.client, self.context.server):
            if connection.connected or connection.state:
                yield commands.CloseConnection(connection)
        services_of(self.context.client).gate.finish(session_of(self.context.client), self.exchange, end)
