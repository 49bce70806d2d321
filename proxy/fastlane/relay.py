"""A relay of bytes: a tunnel that a rule opens, or the frames of a WebSocket. Counts, scrubs, holds nothing back."""

import time
from typing import TYPE_CHECKING

from proxy.credentials.scrub import Scrubber
from proxy.engine.hello import BadHello, hello_complete, judge_hello, looks_like_tls, read_hello
from proxy.exchange import Exchange
from proxy.fastlane.upstream import Upstream
from proxy.policy.reason import Reason

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide


class Relay:
    """Relays between a client and an upstream until both have said all, or one is gone.

    The first bytes of a tunnel are judged if they are a TLS hello: its server name must be the tunnel's host.
    """

    def __init__(
        self, client: "ClientSide", upstream: Upstream, exchange: Exchange, scrubber: Scrubber | None = None
    ) -> None:
        self._client, self._upstream, self._exchange = client, upstream, exchange
        self._scrubber = scrubber
        self._judged = not exchange.tunnel
        self._hello = bytearray()
        self._over = False
        self._ended = False  # one side has said all
        upstream.user = self
        if not self._judged:
            client.session.head_since = time.monotonic()

    @property
    def active(self) -> float:
        return self._upstream.active

    # --- from the client ---

    def from_client(self, data: bytes) -> None:
        if self._over:
            return
        if not self._judged:
            session = self._client.session
            session.head_since = session.head_since or time.monotonic()
            self._hello += data
            if not self._judge():
                return
            session.head_since = None
            data = bytes(self._hello)
            self._hello = bytearray()
        self._exchange.bytes_out += len(data)
        self._upstream.send(data)
        if not self._upstream.writable:
            self._client.pause()

    def upstream_drained(self) -> None:
        self._client.resume()

    def client_ended(self, *, whole: bool) -> None:
        self._end("client_closed", whole=whole, other=self._upstream)

    def client_gone(self) -> None:
        self._close("client_closed")

    # --- from the upstream ---

    def answered(self) -> None:
        """The upstream's bytes come through its reader of answers, which reads none of them."""
        self.from_upstream(self._upstream.answers.rest())

    def from_upstream(self, data: bytes) -> None:
        if self._over:
            return
        exchange = self._exchange
        exchange.bytes_in += len(data)
        if not self._judged and not self._hello:
            self._client.session.head_since = None  # the server speaks first
        for piece in [data] if self._scrubber is None else self._scrubber.feed(data):
            if exchange.meter is not None:
                exchange.meter.feed(piece)
            self._client.send(piece)
        if not self._client.writable:
            self._upstream.pause()

    def client_drained(self) -> None:
        self._upstream.resume()

    def upstream_ended(self, *, whole: bool) -> None:
        self._end("upstream_closed", whole=whole, other=self._client)

    def broke(self) -> None:
        self._client.failed()

    # --- parts ---

    def _judge(self) -> bool:
        """Whether the client's first bytes may pass; refuses what hides or misnames the host."""
        client, data = self._client, bytes(self._hello)
        if looks_like_tls(data):
            try:
                if not hello_complete(data):
                    return False
                judge_hello(client.lane.gate, client.session, read_hello(data))
            except BadHello as error:
                client.session.bar(Reason.PROTOCOL_NOT_ALLOWED, str(error))
        if client.session.barred is not None:
            self._exchange.refuse(*client.session.barred)
            self._close("refused")
            return False
        self._judged = True
        return True

    def _end(self, end: str, *, whole: bool, other: "ClientSide | Upstream") -> None:
        """One side has said all. In a tunnel the other may go on; a WebSocket ends as a whole."""
        if self._over:
            return
        judged = self._judged or not self._hello
        if self._exchange.tunnel and judged and whole and not self._ended and not other.closed:
            self._ended = True
            self._exchange.end = end
            if other.transport.can_write_eof():
                other.transport.write_eof()
        else:
            self._close(end)

    def _close(self, end: str) -> None:
        if self._over:
            return
        self._over = True
        client, upstream = self._client, self._upstream
        if self._scrubber is not None and not client.closed:
            for piece in self._scrubber.flush():
                client.send(piece)
        upstream.user = None
        client.relay = None
        client.lane.gate.finish(client.session, self._exchange, end)
        upstream.close()
        client.close()
