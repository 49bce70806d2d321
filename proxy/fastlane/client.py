"""One client of the fast lane: a plain request, a CONNECT and what comes in it, each judged by the gate.

What this lane does not speak is handed to the mitmproxy lane before a byte of it is read: HTTP/2, where a rule wants it.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from mitmproxy.net.tls import starts_like_tls_record

from proxy import limits
from proxy.credentials.scrub import Mask, Scrubber
from proxy.dial import Dialer, DialError
from proxy.engine.handler import left
from proxy.engine.hello import BadHello, client_name, hello_complete, judge_hello, read_hello
from proxy.exchange import Exchange
from proxy.fastlane.conversation import Conversation
from proxy.fastlane.parse import BadMessage, End, Requests
from proxy.fastlane.relay import Relay
from proxy.fastlane.tls import LeafContexts, Tls
from proxy.fastlane.upstream import Pool, Upstream, dial
from proxy.fastlane.wire import Wire
from proxy.gate import Gate
from proxy.head import Head
from proxy.outbound import Outbound
from proxy.policy.reason import Reason
from proxy.refusal import Response, refuse
from proxy.session import Bound, Session

log = structlog.get_logger("engine")

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HTTP_START = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(kw_only=True)
class Lane:
    """What every connection of a worker shares."""

    gate: Gate
    dialer: Dialer
    leaf_contexts: LeafContexts
    upstream_context: ssl.SSLContext
    hand_over: Callable[[asyncio.Transport, Session, bytes], None]
    pool: Pool = field(default_factory=Pool)
    clients: "set[ClientSide]" = field(default_factory=set)


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
        self._reader: Callable[[bytes], None] = self._http
        self._hello = bytearray()
        self._discarding = False
        self._discarded = 0
        self._gathering: tuple[Exchange, Head, bytearray] | None = None
        self._keep = True
        self._said_all = False
        self._advancing = False
        self._tunnelling: asyncio.Task[None] | None = None

    # --- of the wire ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.session = Session(client=f"{peer[0]}:{peer[1]}" if peer and len(peer) > 1 else "local", bound=self.bound)
        self.lane.clients.add(self)

    def data_received(self, data: bytes) -> None:
        if self.tls is None and self._reader == self._first:
            # Bytes of the wire that decide what the connection becomes.
            self.active = time.monotonic()
            if not self.closed:
                self.guarded(lambda: self._first(data))
            return
        super().data_received(data)

    def received(self, data: bytes) -> None:
        if self.tls is not None and self.tls.established:
            self.lane.gate.intercepted(self.session)
        if data:
            self._reader(data)

    def said_all(self, *, whole: bool) -> None:
        self._said_all = True
        if self.relay is not None:
            self.relay.client_ended(whole=whole)
        elif not whole or (self.tls is not None and not self.tls.established):
            self._left()  # after a FIN without a goodbye nobody listens
        else:
            self.advance()

    def gone(self) -> None:
        self.lane.clients.discard(self)
        self._left()

    def drained(self) -> None:
        if self.relay is not None:
            self.relay.client_drained()
        elif self.conversation is not None:
            self.conversation.client_drained()

    def tls_failed(self, error: ssl.SSLError) -> None:
        exchange, self.session.connecting = self.session.connecting, None
        if exchange is not None:
            why = error.reason or "broken"
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, f"the client's TLS handshake failed: {why}")
            self.lane.gate.finish(self.session, exchange, "aborted")
        if self.tls is not None and (alert := self.tls.pending()):
            self.transport.write(alert)
        self._left()

    def failed(self) -> None:
        """Our own code raised: refuse what is open, and cut."""
        self.session.bar(Reason.POLICY_ERROR, "an internal error")
        for exchange in self.session.open.values():
            exchange.refuse(Reason.POLICY_ERROR, "an internal error")
        self.cut()

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step that asyncio did not call through the wire; whatever it raises ends the connection."""
        try:
            step()
        except ssl.SSLError as error:
            self.tls_failed(error)
        except (Exception, asyncio.CancelledError) as error:
            log.exception("connection failed", error=type(error).__name__)
            self.failed()

    # --- requests ---

    def _http(self, data: bytes) -> None:
        if data[:1] == b"\x16" and self.requests.between and self.conversation is None:
            self._refuse_early(Reason.PROTOCOL_NOT_ALLOWED, "TLS to the proxy" if self.tls is None else "TLS inside TLS")
            return
        self.requests.feed(data)
        self.advance()
        # More than a head, and nobody to take it: wait.
        if len(self.requests.buffer) > limits.MAX_HEAD:
            self.pause()

    def advance(self) -> None:
        """Do what can be done now: send on, read the next head, answer it."""
        if self._advancing or self.closed:
            return
        self._advancing = True
        try:
            while not self.closed and self.relay is None and self._step():
                pass
        except BadMessage as error:
            self._malformed(error)
        finally:
            self._advancing = False
        if not self.closed and len(self.requests.buffer) <= limits.MAX_HEAD:
            self.resume()

    def _step(self) -> bool:
        """One step; whether another one may follow at once."""
        if self.conversation is not None:
            self.conversation.pump()
            return self.conversation is None
        if self._tunnelling is not None:
            return False
        if self._gathering is not None or self._discarding:
            return self._take_body()
        if not self._keep:
            self.close()
            return False
        piece = self.requests.next()
        if isinstance(piece, Head):
            if piece.method == b"CONNECT":
                self.requests.next()  # its end: it has no body
                return self._connect(piece)
            self._request(piece)
            return True
        self._wait()
        return False

    def _wait(self) -> None:
        """Nothing to do until more comes."""
        begun = not self.requests.between and bytes(self.requests.buffer) not in (b"", b"\r")
        if self._said_all:
            if begun:
                self._refuse_early(Reason.MALFORMED_REQUEST, "the connection ended inside the request head", tell=False)
            self.close()
        elif begun:
            self.session.head_since = self.session.head_since or time.monotonic()

    def _request(self, head: Head) -> None:
        if head.version == b"HTTP/1.0" or _closes(head):
            self._keep = False
        tls = self.tls is not None
        judged = self.lane.gate.request(self.session, head, tls=tls)
        if isinstance(judged, Outbound):
            self.conversation = Conversation(self, judged, head)
            self.conversation.start()
        elif not judged.allowed:
            self.answer_refusal(judged)
        elif self.lane.gate.desk.takes_body(judged) and self.requests.in_body:
            self.session.head_since = time.monotonic()  # the body has the time that a head has
            self._gathering = (judged, head, bytearray())
            if head.values(b"expect"):
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._answer_here(judged, head, b"")

    def _take_body(self) -> bool:
        """Read the body of a request that is answered here, or throw it away."""
        piece = self.requests.next()
        if piece is None:
            return False
        gathering = self._gathering
        if gathering is None:
            if isinstance(piece, End):
                self._discarding = False
            elif isinstance(piece, bytes | bytearray):
                self._discarded += len(piece)
                if self._discarded > limits.MAX_DISCARD:
                    self.close()
            return True
        exchange, head, body = gathering
        if isinstance(piece, bytes | bytearray):
            body += piece[: limits.MAX_ACCESS + 1 - len(body)]
            if len(body) <= limits.MAX_ACCESS:
                return True
        self._gathering = None
        self.session.head_since = None
        self._discarding = not isinstance(piece, End)
        self._answer_here(exchange, head, bytes(body))
        return True

    def _answer_here(self, exchange: Exchange, head: Head, body: bytes) -> None:
        response = self.lane.gate.answer(self.session, exchange, head, body)
        if response is None:
            self.answer_refusal(exchange)
        else:
            self._answer(exchange, response, "complete")

    # --- answers of our own ---

    def answer_refusal(self, exchange: Exchange) -> None:
        """Answer with the refusal at once; the rest of the request is read and thrown away."""
        self.lane.gate.note_refusal(exchange)
        response = refuse(exchange)
        if exchange.decision.reason is Reason.MALFORMED_REQUEST:
            # Where a head ends may be in doubt, and then what follows is its body or another request: read no more.
            self._keep = False
        self._answer(exchange, response, "refused")

    def _answer(self, exchange: Exchange, response: Response, end: str) -> None:
        exchange.status = response.status
        self.conversation = None
        self.send(_to_bytes(response, close=not self._keep))
        self.lane.gate.finish(self.session, exchange, end)
        self._discarding = self._discarding or self.requests.in_body
        self._discarded = 0
        if exchange.decision.reason is Reason.MALFORMED_REQUEST:
            self.close()
        else:
            self.advance()

    def conversed(self, *, keep: bool, whole: bool = True, goodbye: bool = True) -> None:
        """The conversation is over."""
        self.conversation = None
        self._keep = self._keep and keep
        if not self._keep:
            self.close(whole=whole, goodbye=goodbye)
        else:
            self.advance()

    def _malformed(self, error: BadMessage) -> None:
        reason = Reason.LIMIT_EXCEEDED if error.too_large else Reason.MALFORMED_REQUEST
        if self.conversation is not None:
            # Inside a body: the request is not what it says it is, so its upstream must not take it for whole.
            exchange = self.conversation.exchange
            exchange.end = exchange.end or "client_closed"
            self._left()
            return
        detail = "the request head cannot be parsed" if reason is Reason.MALFORMED_REQUEST else str(error)
        self._refuse_early(reason, detail)

    def _refuse_early(self, reason: Reason, detail: str, *, tell: bool = True) -> None:
        """Refuse what never became a request, and close."""
        exchange, self.session.connecting = self.session.connecting, None
        if exchange is None:
            exchange = self.session.new_exchange()
            target = self.session.target
            if target is not None:
                exchange.host, exchange.port = target.host, target.port
        exchange.refuse(reason, detail)
        self.lane.gate.note_refusal(exchange)
        response = refuse(exchange)
        exchange.status = response.status
        self.lane.gate.finish(self.session, exchange, "refused")
        if tell:
            self.send(_to_bytes(response, close=True))
        self.close()

    # --- CONNECT ---

    def _connect(self, head: Head) -> bool:
        exchange = self.lane.gate.connect(self.session, head)
        if not exchange.allowed or self.session.target is None:
            self._refuse_connect(exchange)
            return not self.closed
        rest = self.requests.rest()
        if self.session.connect.tunnel:
            self._tunnelling = asyncio.get_running_loop().create_task(self._tunnel(exchange, rest), name="tunnel")
            return False
        self.transport.write(_ESTABLISHED)
        if self.session.connect.http2:
            self.lane.clients.discard(self)
            self.closed = True  # to us
            self.lane.hand_over(self.transport, self.session, rest)
            return False
        self._reader = self._first
        if rest:
            self._first(rest)
        return False

    def _refuse_connect(self, exchange: Exchange) -> None:
        self.lane.gate.note_refusal(exchange)
        response = refuse(exchange, connect=True)
        exchange.status = response.status
        # After a challenge the connection stays: git and libcurl answer it there.
        self._keep = response.status == 407
        self.send(_to_bytes(response, close=False))
        self.lane.gate.finish(self.session, exchange, "refused")

    def _first(self, data: bytes) -> None:
        """The first bytes inside CONNECT: a TLS hello, or a plain request."""
        self._hello += data
        start = bytes(self._hello[:1])
        if start == b"\x16" and len(self._hello) < 3:
            return
        if start == b"\x16" and starts_like_tls_record(bytes(self._hello)):
            try:
                if not hello_complete(bytes(self._hello)):
                    return
                hello = read_hello(bytes(self._hello))
            except BadHello as error:
                self._bad_hello(str(error))
                return
            judge_hello(self.lane.gate, self.session, hello)
            self._reader = self._http
            context = self.lane.leaf_contexts.context(client_name(self.session, hello.sni))
            self.tls = Tls(context, server_side=True)
            hello_bytes, self._hello = bytes(self._hello), bytearray()
            self._received_tls(hello_bytes)
        elif start and start in _HTTP_START:
            plain, self._hello = bytes(self._hello), bytearray()
            self._reader = self._http
            self._http(plain)
        else:
            self._refuse_early(Reason.PROTOCOL_NOT_ALLOWED, "neither TLS nor HTTP")

    def _bad_hello(self, why: str) -> None:
        exchange, self.session.connecting = self.session.connecting, None
        if exchange is not None:
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, f"the client's TLS handshake failed: {why}")
            self.lane.gate.finish(self.session, exchange, "aborted")
        self._left()

    async def _tunnel(self, exchange: Exchange, rest: bytes) -> None:
        target = self.session.target
        assert target is not None
        try:
            grant = self.session.grants.get((target.host.name, target.port))
            if grant is None or self.session.barred is not None:
                raise DialError(Reason.POLICY_ERROR, "no decision allows this destination")
            upstream = await dial(
                self.lane.dialer, self.lane.upstream_context, grant, self.session.asker, tls=False
            )
        except DialError as error:
            exchange.refuse(error.reason, str(error))
            self._tunnelling = None
            if not self.closed:
                self.guarded(lambda: self._refuse_tunnel(exchange))
            return
        except asyncio.CancelledError:
            return
        except Exception as error:
            log.exception("dial failed", error=type(error).__name__)
            self.failed()
            return
        self._tunnelling = None
        if self.closed:
            upstream.abort()
        else:
            self.guarded(lambda: self._open_tunnel(exchange, upstream, rest))

    def _refuse_tunnel(self, exchange: Exchange) -> None:
        self._refuse_connect(exchange)
        self.close()

    def _open_tunnel(self, exchange: Exchange, upstream: Upstream, rest: bytes) -> None:
        exchange.upstream_ip = upstream.ip
        self.transport.write(_ESTABLISHED)
        self.relay = Relay(self, upstream, exchange)
        self._reader = self.relay.from_client
        data = rest + self.requests.rest()
        self.resume()
        if data:
            self.relay.from_client(data)

    def become_relay(self, upstream: Upstream, exchange: Exchange, mask: Mask | None) -> None:
        """From here on bytes pass as they are: the frames of a WebSocket."""
        self.conversation = None
        self.relay = Relay(self, upstream, exchange, None if mask is None else Scrubber(mask))
        self._reader = self.relay.from_client
        ahead, behind = self.requests.rest(), upstream.answers.rest()
        if ahead:
            self.relay.from_client(ahead)
        if behind:
            self.relay.from_upstream(behind)

    # --- endings ---

    def enforce_deadline(self, now: float) -> None:
        """Cut a client that is overdue, or of which that cannot be said. `now` is `time.monotonic()`."""
        try:
            self._enforce_deadline(now)
        except Exception as error:
            log.exception("deadlines could not be enforced", error=type(error).__name__)
            self.failed()

    def _enforce_deadline(self, now: float) -> None:
        gate, session = self.lane.gate, self.session
        gate.note_long(session, now)
        busy = self.conversation or self.relay
        quiet = now - max(self.active, 0.0 if busy is None else busy.active)
        if (
            session.open
            and not self.reading
            and left(self.transport.get_extra_info("socket"), stalled=quiet > limits.STALLED_TIME)
        ):
            self._left()
            return
        if (quiet > limits.QUIET_TIME and not session.open) or quiet > limits.IDLE_TIME or gate.outlived(session):
            self.cut()
            return
        since = session.head_since
        if since is None or now - since < limits.HEAD_TIME:
            return
        session.head_since = None
        exchange = next(iter(session.open.values()), None) or session.new_exchange()
        exchange.refuse(Reason.LIMIT_EXCEEDED, "the client took too long to send a request")
        gate.finish(session, exchange, "aborted")
        self._left()

    def _left(self) -> None:
        """The client is gone."""
        if self.conversation is not None:
            self.conversation.drop()
            self.conversation = None
        if self._tunnelling is not None:
            self._tunnelling.cancel()
        if self.relay is not None:
            self.relay.client_gone()
        self.lane.gate.close(self.session)
        if not self.closed:
            self.abort()

    def cut(self) -> None:
        """End everything of this client, now."""
        for exchange in self.session.open.values():
            if exchange.allowed:
                exchange.end = exchange.end or "aborted"
        self._left()


def _closes(head: Head) -> bool:
    values = head.values(b"connection") + head.values(b"proxy-connection")
    return any(token.strip().lower() == b"close" for value in values for token in value.split(b","))


def _to_bytes(response: Response, *, close: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (response.status, response.reason.encode("ascii"))]
    lines += [name + b": " + value for name, value in response.headers if not close or name != b"connection"]
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", response.body])
