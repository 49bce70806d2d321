"""A relay of bytes in the fast lane: a tunnel that a rule opens, or the frames of a WebSocket. Holds nothing back."""

from typing import TYPE_CHECKING

from proxy.credentials.scrub import Mask
from proxy.exchange import Exchange
from proxy.fastlane.upstream import Upstream
from proxy.passage import Passage

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide


class Relay:
    """Relays between a client and an upstream until both have said all, or one is gone; then it is recorded."""

    def __init__(self, client: "ClientSide", upstream: Upstream, exchange: Exchange, mask: Mask | None = None) -> None:
        self._client, self._upstream, self._exchange = client, upstream, exchange
        self._passage = Passage(client.lane.gate, client.session, exchange, mask)
        self._over = False
        self._ended = False  # one side has said all
        upstream.user = self

    @property
    def active(self) -> float:
        return self._upstream.active

    # --- from the client ---

    def from_client(self, data: bytes) -> None:
        if self._over:
            return
        passing = self._passage.to_server(data)
        if passing is None:
            self._close("refused")
            return
        self._upstream.send(passing)
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
        for piece in self._passage.to_client(data):
            self._client.send(piece)
        if not self._client.writable:
            self._upstream.pause()

    def client_drained(self) -> None:
        self._upstream.resume()

    def upstream_ended(self, *, whole: bool) -> None:
        self._end("upstream_closed", whole=whole, other=self._client)

    def broke(self) -> None:
        self._client.failed()

    # --- endings ---

    def _end(self, end: str, *, whole: bool, other: "ClientSide | Upstream") -> None:
        """One side has said all. In a tunnel the other may go on; a WebSocket ends as a whole."""
        if self._over:
            return
        if self._passage.may_half_close and whole and not self._ended and not other.closed:
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
        for piece in self._passage.rest():
            client.send(piece)
        upstream.user = None
        client.relay = None
        client.lane.gate.finish(client.session, self._exchange, end)
        upstream.close()
        client.close()
