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
        self._ended: ClientSide | Upstream | None = None  # which side has said all
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
        self._end("client_closed", self._client, self._upstream, whole=whole)

    def client_gone(self) -> None:
        self._end("client_closed", self._client, self._upstream, whole=False)

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
        self._end("upstream_closed", self._upstream, self._client, whole=whole)

    def broke(self) -> None:
        self._client.failed()

    # --- endings ---

    def _end(self, end: str, side: "ClientSide | Upstream", other: "ClientSide | Upstream", *, whole: bool) -> None:
        """One side has said all. In a tunnel the other may go on, or learns that this one broke off; a WebSocket ends
        as a whole.
        """
        if self._over:
            return
        tunnel = self._exchange.tunnel
        if self._passage.may_half_close and whole and self._ended is None and not other.closed:
            self._ended = side
            self._exchange.end = end
            if other.transport.can_write_eof():
                other.transport.write_eof()
        else:
            self._close(end, broken=other if tunnel and not whole and self._ended is not side else None)

    def _close(self, end: str, broken: "ClientSide | Upstream | None" = None) -> None:
        """End both sides; the one that is `broken` must not take what it got for whole."""
        if self._over:
            return
        self._over = True
        client, upstream = self._client, self._upstream
        for piece in self._passage.rest():
            client.send(piece)
        upstream.user = None
        client.relay = None
        client.lane.gate.finish(client.session, self._exchange, end)
        upstream.close(whole=broken is not upstream)
        client.close(whole=broken is not client)
