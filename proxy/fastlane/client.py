"""One client of the fast lane: its requests one after the other, each judged by the gate, answered here or sent on."""

import asyncio
import ssl
import time
from collections.abc import Callable

import structlog

from proxy import limits
from proxy.credentials.scrub import Mask
from proxy.exchange import Exchange
from proxy.fastlane.connecting import Connecting
from proxy.fastlane.conversation import Conversation
from proxy.fastlane.here import Here
from proxy.fastlane.lane import Lane
from proxy.fastlane.parse import Requests, says_close
from proxy.fastlane.reader import BadMessage
from proxy.fastlane.relay import Relay
from proxy.fastlane.upstream import Upstream
from proxy.fastlane.wire import Wire
from proxy.head import Head
from proxy.outbound import Outbound
from proxy.policy.reason import Reason
from proxy.session import Bound, Session

log = structlog.get_logger("engine")


class ClientSide(Wire):
    """The connection of one client. `requests` is what it says, in the clear; one exchange at a time is answered."""

    def __init__(self, lane: Lane, bound: Bound | None = None) -> None:
        super().__init__()
        self.lane = lane
        self.bound = bound
        self.session: Session
        self.requests = Requests()
        self.conversation: Conversation | None = None
        self.relay: Relay | None = None
        self.reader: Callable[[bytes], None] = self.http
        self.keep = True
        self.unjudged = True  # the gate has not spoken yet about what the client has begun
        self._connecting = Connecting(self)
        self.here = Here(self)
        self.has_ended = False
        self._advancing = False
        self._counted = False
        self._greeted = False

    # --- of the wire ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.session = Session(client=f"{peer[0]}:{peer[1]}" if peer and len(peer) > 1 else "local", bound=self.bound)
        self.share = self.lane.share(self.session.asker)
        self._counted = self.lane.enter(self.bound)
        if self._counted:
            self.lane.clients.add(self)
        else:
            self.abort()

    def received(self, data: bytes) -> None:
        if not self._greeted and self.tls is not None and self.tls.established:
            self._greeted = True
            self.lane.gate.greeted(self.session)
        if data:
            self.reader(data)

    def went_on(self) -> None:
        self.advance()

    def said_all(self, *, whole: bool) -> None:
        self.has_ended = True
        if self.relay is not None:
            self.relay.client_ended(whole=whole)
        elif not whole or (self.tls is not None and not self.tls.established):
            self.left()  # after a FIN without a goodbye nobody listens
        else:
            self.advance()

    def gone(self) -> None:
        self.lane.clients.discard(self)
        if self._counted:
            self._counted = False
            self.lane.left(self.bound)
        self.left()

    def hand_over(self, rest: bytes) -> None:
        """Let the other lane go on with this client; `rest` is what it has sent since its CONNECT."""
        self.lane.clients.discard(self)
        self._counted = False
        self.closed = True  # to us
        self.transport.pause_reading()  # what is read until there is another protocol would come to us
        self.lane.hand_over(self.transport, self.session, rest + self.take_held(), writable=self.writable)

    def drained(self) -> None:
        if self.relay is not None:
            self.relay.client_drained()
        elif self.conversation is not None:
            self.conversation.client_drained()
        else:
            self.advance()

    def tls_failed(self, error: ssl.SSLError) -> None:
        exchange, self.session.connecting = self.session.connecting, None
        if exchange is not None:
            why = error.reason or "broken"
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, f"the client's TLS handshake failed: {why}")
            self.lane.gate.finish(self.session, exchange, "aborted")
        # Who names another host is told nothing, not even which alert OpenSSL has for such a name.
        if self.tls is not None and self.session.barred is None and (alert := self.tls.pending()):
            self.transport.write(alert)
        self.left()

    def failed(self) -> None:
        """Our own code raised: refuse what is open, and cut."""
        if self.unjudged and not self.closed and not self.session.open:
            self.session.new_exchange()  # for what the client has begun, so that its end is on record
        self.session.bar(Reason.POLICY_ERROR, "an internal error")
        for exchange in self.session.open.values():
            exchange.refuse(Reason.POLICY_ERROR, "an internal error")
        self.cut()

    # --- requests ---

    def http(self, data: bytes) -> None:
        idle = self.conversation is None and not self._connecting.busy
        if data[:1] == b"\x16" and self.requests.between and idle:
            self.here.refuse_early(
                Reason.PROTOCOL_NOT_ALLOWED, "TLS to the proxy" if self.tls is None else "TLS inside TLS"
            )
            return
        self.requests.feed(data)
        self.advance()
        # More than a head, and nobody to take it: wait.
        if self.requests.waiting > limits.MAX_HEAD:
            self.pause()

    def advance(self) -> None:
        """Do what can be done now: send on, read the next head, answer it."""
        if self._advancing or self.closed:
            return
        self._advancing = True
        try:
            while not self.closed and self.relay is None and self._step():
                if self.share.over:
                    self.rest_later()
                    break
        except BadMessage as error:
            self.here.malformed(error)
        finally:
            self._advancing = False
        if not self.closed and self.requests.waiting <= limits.MAX_HEAD:
            self.resume()

    def _step(self) -> bool:
        """One step; whether another one may follow at once."""
        if self.conversation is not None:
            self.conversation.pump()
            return self.conversation is None
        if self._connecting.busy:
            return False
        if self.here.busy:
            return self.here.take_body()
        if not self.keep:
            self.close()
            return False
        if not self.writable:
            return False  # the answers that it has asked for come first
        piece = self.requests.next()
        if isinstance(piece, Head):
            self.unjudged = True
            if piece.method == b"CONNECT":
                self.requests.next()  # its end: it has no body
                return self._connecting.connect(piece)
            self._request(piece)
            return True
        self._wait()
        return False

    def _wait(self) -> None:
        """Nothing to do until more comes."""
        begun = not self.requests.between and bytes(self.requests.buffer) not in (b"", b"\r")
        if self.has_ended:
            if begun:
                self.here.refuse_early(
                    Reason.MALFORMED_REQUEST, "the connection ended inside the request head", tell=False
                )
            self.close()
        elif begun:
            self.session.head_since = self.session.head_since or time.monotonic()

    def _request(self, head: Head) -> None:
        if head.version == b"HTTP/1.0" or says_close(head.values(b"connection") + head.values(b"proxy-connection")):
            self.keep = False
        tls = self.tls is not None
        judged = self.lane.gate.request(self.session, head, tls=tls)
        self.unjudged = False
        self.share = self.lane.share(self.session.asker)
        if isinstance(judged, Outbound):
            self.conversation = Conversation(self, judged, head)
            self.conversation.start()
        elif not judged.allowed:
            self.here.refuse(judged)
        else:
            self.here.take(judged, head)

    def conversed(self, *, keep: bool, whole: bool = True, goodbye: bool = True) -> None:
        """The conversation is over. What is still to come of its request is thrown away."""
        self.conversation = None
        self.keep = self.keep and keep
        if not keep:
            self.close(whole=whole, goodbye=goodbye)
            return
        self.here.discard()
        self.advance()

    # --- other protocols ---

    def open_relay(self, relay: Relay) -> None:
        """From here on bytes pass as they are."""
        self.relay, self.reader = relay, relay.from_client

    def become_relay(self, upstream: Upstream, exchange: Exchange, mask: Mask | None) -> None:
        """The frames of a WebSocket follow."""
        self.conversation = None
        relay = Relay(self, upstream, exchange, mask)
        self.open_relay(relay)
        ahead, behind = self.requests.rest(), upstream.answers.rest()
        self.resume()
        if ahead:
            relay.from_client(ahead)
        if behind:
            relay.from_upstream(behind)
        if self.has_ended:
            relay.client_ended(whole=True)

    # --- endings ---

    @property
    def last_active(self) -> float:
        """When a byte last came, of the client or of who answers it (`time.monotonic`)."""
        busy = self.conversation or self.relay
        return max(self.active, 0.0 if busy is None else busy.active)

    def left(self) -> None:
        """The client is gone."""
        try:
            self._drop()
            self.lane.gate.close(self.session)
        finally:
            if not self.closed:
                self.abort()

    def _drop(self) -> None:
        conversation, self.conversation = self.conversation, None
        if conversation is not None:
            conversation.drop()
        self._connecting.cancel()
        if self.relay is not None:
            self.relay.client_gone()

    def cut(self) -> None:
        """End everything of this client, now. What it has got a part of does not look whole."""
        if self.relay is not None or (self.conversation is not None and self.conversation.delivery is not None):
            self.end_with_reset()
        for exchange in self.session.open.values():
            if exchange.allowed:
                exchange.end = exchange.end or "aborted"
        try:
            self.left()
        finally:
            self.abort()  # also what waits for a client that takes nothing
