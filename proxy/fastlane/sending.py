"""A request on its way up: its head as the gate wrote it, its body as it comes, as fast as the upstream takes it."""

from typing import TYPE_CHECKING

from proxy.exchange import Exchange
from proxy.fastlane.reader import End
from proxy.fastlane.upstream import Upstream
from proxy.head import Head, Headers

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide

_GATHERED = 16  # pieces that are sent with one call


class Sending:
    """One request. `whole` says that all of it was sent."""

    def __init__(self, client: "ClientSide", exchange: Exchange, head: Head, headers: Headers, target: str) -> None:
        self._client, self._exchange = client, exchange
        self._chunked = bool(head.values(b"transfer-encoding"))
        lines = [b"%s %s HTTP/1.1" % (head.method, target.encode()), *(b"%b: %b" % field for field in headers)]
        self._unsent = [b"\r\n".join([*lines, b"", b""])]
        self.whole = False

    def pump(self, upstream: Upstream) -> None:
        """Send on what there is of it, and no more than the upstream takes."""
        parts, self._unsent = self._unsent, []
        try:
            while not self.whole and upstream.writable and self._take(parts):
                if len(parts) > _GATHERED:
                    upstream.send(b"".join(parts))
                    parts.clear()
        finally:
            # Not after the client has gone: what it broke off in must not look whole.
            if parts and upstream.user is not None:
                upstream.send(parts[0] if len(parts) == 1 else b"".join(parts))

    def _take(self, parts: list[bytes]) -> bool:
        """Take one piece; false if there is none now."""
        piece = self._client.requests.next()
        if piece is None:
            if self._client.has_ended:
                self._client.left()  # inside the body: the upstream must not take it for whole
            return False
        if isinstance(piece, End):
            self.whole = True
            if self._chunked:
                parts.append(b"0\r\n\r\n")
        elif not isinstance(piece, Head):
            self._exchange.bytes_out += len(piece)
            parts.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        return True
