"""One exchange that is allowed: its request on the way up, its answer on the way down, each as fast as the other side
takes it, nothing gathered.
"""

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import structlog

from proxy import limits
from proxy.credentials.decode import DecodeError
from proxy.credentials.scrub import Mask
from proxy.credentials.sources import CredentialUnavailable
from proxy.dial import DialError, Grant
from proxy.fastlane.parse import BadMessage, End
from proxy.fastlane.pool import Use
from proxy.fastlane.upstream import Upstream, dial
from proxy.head import Head
from proxy.outbound import Outbound
from proxy.passing import Answer, Framing, Passing, let_pass
from proxy.policy.reason import Reason

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide

log = structlog.get_logger("engine")

_GATHERED = 16  # pieces of a request that are sent with one call


class Conversation:
    """Drives one exchange between its client and its upstream."""

    def __init__(self, client: "ClientSide", outbound: Outbound, head: Head) -> None:
        self.client = client
        self.outbound = outbound
        self.exchange = outbound.exchange
        self.head = head
        self.upstream: Upstream | None = None
        self.asked = False  # the request is whole, and sent
        self.answered_all = False
        self.passing: Passing | None = None
        self._mask: Mask | None = None
        self._chunked = bool(head.values(b"transfer-encoding"))
        self._pieces: Iterator[bytes] | None = None  # of the body's part at hand, while the client takes others
        self._dialling: asyncio.Task[None] | None = None
        self._over = False
        self._reused = False
        self._upstream_ended = False
        self._upstream_whole = False
        self._unsent: list[bytes] = []

    @property
    def active(self) -> float:
        """When the upstream last said something."""
        return 0.0 if self.upstream is None else self.upstream.active

    @property
    def _used(self) -> Upstream:
        if self.upstream is None:
            raise RuntimeError("no upstream yet")
        return self.upstream

    @property
    def _passed(self) -> Passing:
        if self.passing is None:
            raise RuntimeError("no answer yet")
        return self.passing

    # --- the upstream ---

    def start(self) -> None:
        idle = self.client.lane.pool.take(self._use())
        if idle is not None:
            self._reused = True
            self._connected(idle)
            return
        # A task of its own; the client's bytes wait until it is done.
        self._dialling = asyncio.get_running_loop().create_task(self._dial(), name="upstream")

    def _use(self) -> Use:
        request, exchange, bound = self.outbound.request, self.exchange, self.client.session.bound
        owner = exchange.sandbox if bound is None else bound.number
        return Use(owner, exchange.policy.digest, exchange.credential, request.scheme, request.host.name, request.port)

    def _grant(self) -> Grant:
        decision, request = self.exchange.decision, self.outbound.request
        return Grant(request.host, request.port, decision.networks, self.exchange.policy.denied_networks)

    async def _dial(self) -> None:
        request = self.outbound.request
        try:
            upstream = await dial(
                self.client.lane.dialer,
                self.client.lane.upstream_context,
                self._granted(),
                self.client.session.asker,
                tls=request.scheme == "https",
            )
        except DialError as error:
            if not self._over:
                self.refuse(error.reason, str(error))
            return
        except asyncio.CancelledError:
            if not self._over:
                self.refuse(Reason.UPSTREAM_UNREACHABLE, "cancelled")
            return
        except Exception as error:
            log.exception("dial failed", error=type(error).__name__)
            self.client.guarded(self.client.failed)
            return
        if self._over:
            upstream.abort()
            return
        self.client.guarded(self._connected, upstream)

    def _granted(self) -> Grant:
        """The leave that the gate gave; without one nothing is dialled."""
        request = self.outbound.request
        grant = self.client.session.grants.get((request.host.name, request.port))
        if grant is None or self.client.session.barred is not None:
            raise DialError(Reason.POLICY_ERROR, "no decision allows this destination")
        return grant

    def _connected(self, upstream: Upstream) -> None:
        self.upstream, upstream.user = upstream, self
        self.client.session.forget_grants()
        try:
            self._check(upstream)
            headers, target, self._mask = self.client.lane.gate.upstream_head(self.outbound)
        except DialError as error:
            self.refuse(error.reason, str(error))
            return
        except CredentialUnavailable as error:
            self.refuse(Reason.CREDENTIAL_UNAVAILABLE, str(error))
            return
        exchange = self.exchange
        exchange.upstream_ip = upstream.ip
        exchange.tls = None if upstream.tls is None else upstream.tls.version
        exchange.sent = True
        lines = [b"%s %s HTTP/1.1" % (self.head.method, target.encode())]
        lines += [name + b": " + value for name, value in headers]
        self._unsent = [b"\r\n".join([*lines, b"", b""])]
        if self.client.requests.has_body and self.head.values(b"expect"):
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.advance()

    def _check(self, upstream: Upstream) -> None:
        """Raise `DialError` unless this very decision may use the connection."""
        grant = self._grant()
        if upstream.closed or upstream.ip is None:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, "the connection is gone")
        if self.client.lane.dialer.mapped(grant) is None:
            grant.vet(ip_address(upstream.ip.partition("%")[0]))
        if self.outbound.form is not None and (upstream.tls is None or not upstream.tls.established):
            raise DialError(Reason.UPSTREAM_UNVERIFIED, "a credential travels over verified TLS only")

    # --- the request ---

    def pump(self) -> bool:
        """Send on what there is of the request. Returns whether this exchange still waits for something."""
        upstream = self.upstream
        if upstream is None or self._over:
            return not self._over
        parts, self._unsent = self._unsent, []
        try:
            while not self.asked and upstream.writable and self._take(parts):
                if len(parts) > _GATHERED:
                    upstream.send(b"".join(parts))
                    parts.clear()
        finally:
            if parts and not self._over:
                upstream.send(parts[0] if len(parts) == 1 else b"".join(parts))
        if self.asked and self.answered_all:
            self._finish()
        return not self._over

    def _take(self, parts: list[bytes]) -> bool:
        """Take one piece of the request; false if there is none now."""
        piece = self.client.requests.next()
        if piece is None:
            if self.client.has_ended:
                self.client.left()  # inside the body: the upstream must not take it for whole
            return False
        if isinstance(piece, End):
            self.asked = True
            if self._chunked:
                parts.append(b"0\r\n\r\n")
        elif isinstance(piece, bytes | bytearray):
            self.exchange.bytes_out += len(piece)
            parts.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        return True

    def upstream_drained(self) -> None:
        self.client.advance()

    # --- the answer ---

    def answered(self) -> None:
        if self._over:
            return
        try:
            self._read_answer()
        except BadMessage:
            self.broken("the upstream's answer cannot be read")
        except DecodeError as error:
            self.exchange.detail = str(error)
            self.broken("the answer cannot be decoded")

    def _read_answer(self) -> None:
        out: list[bytes] = []
        try:
            while not self._over and not self.answered_all and self._turn(out):
                pass
        finally:
            if out and not self.client.closed:
                self.client.send(b"".join(out))
        if self.answered_all and self.asked:
            self._finish()

    def _turn(self, out: list[bytes]) -> bool:
        """Take one piece of the answer; false if there is none, or the client must take first what it was sent."""
        upstream = self._used
        if (self._pieces is not None and not self._portion(out)) or not self.client.writable:
            upstream.pause()
            return False
        piece = upstream.answers.next(self.exchange.method)
        if piece is None:
            if not self._upstream_ended:
                upstream.resume()
                return False
            piece = upstream.answers.ended() if self._upstream_whole else None
        if piece is None:
            self._cut()
        elif isinstance(piece, Answer):
            return self._begin(piece, out)
        elif isinstance(piece, End):
            self._end(out)
        else:
            self._pieces = iter(self._passed.body.feed(bytes(piece)))
        return True

    def _begin(self, answer: Answer, out: list[bytes]) -> bool:
        self.passing = let_pass(self.exchange, answer, self.head, self._mask)
        if self.passing is None:
            self.refuse()
            return False
        out.append(_head_bytes(answer.status, self.passing))
        if self.passing.upgrade:
            self._over = True
            self.client.send(b"".join(out))
            out.clear()
            self.client.become_relay(self._used, self.exchange, self._mask)
            return False
        return True

    def _portion(self, out: list[bytes]) -> bool:
        """Hand on some of what the part at hand decodes to; false if the client must take that first."""
        passed = 0
        for piece in self._pieces or ():
            self._frame(piece, out)
            passed += len(piece)
            if passed >= limits.MAX_PORTION:
                self.client.send(b"".join(out))
                out.clear()
                passed = 0
                if not self.client.writable:
                    return False
        self._pieces = None
        return True

    def _frame(self, piece: bytes, out: list[bytes]) -> None:
        if self._passed.framing is Framing.CHUNKED:
            out.append(b"%x\r\n" % len(piece))
            out.append(piece)
            out.append(b"\r\n")
        elif self._passed.framing is not Framing.NONE:
            out.append(piece)

    def _end(self, out: list[bytes]) -> None:
        for piece in self._passed.body.flush():
            self._frame(piece, out)
        if self._passed.framing is Framing.CHUNKED:
            out.append(b"0\r\n\r\n")
        self.answered_all = True
        if self.asked:
            # On record before the client can know that it is over.
            self.client.lane.gate.finish(self.client.session, self.exchange, "complete")

    def client_drained(self) -> None:
        if self.upstream is not None:
            self.answered()

    def upstream_ended(self, *, whole: bool) -> None:
        if self._over or self._upstream_ended:
            return
        self._upstream_ended, self._upstream_whole = True, whole
        if self.answered_all:
            # It answered, and takes no more of the request.
            self._finish(reuse=False)
            return
        if self.passing is None and not self.upstream_spoke and self._again():
            return
        self.answered()

    @property
    def upstream_spoke(self) -> bool:
        return not self._used.answers.between or self.passing is not None

    def _again(self) -> bool:
        """Ask once more on a connection of its own, where the upstream closed an idle one before it heard (RFC 9112
        section 9.3.1): a request without a body, of a method that may be repeated.
        """
        if not self._reused or not self.asked or self.exchange.bytes_out or self._chunked:
            return False
        if self.exchange.method not in ("GET", "HEAD", "OPTIONS"):
            return False
        self._reused = self._upstream_ended = False
        self.upstream = None
        self._dialling = asyncio.get_running_loop().create_task(self._dial(), name="upstream")
        return True

    # --- endings ---

    def _finish(self, *, reuse: bool = True) -> None:
        """Both directions are done."""
        if self._over:
            return
        self._over = True
        upstream, passing = self._used, self._passed
        self.client.lane.gate.finish(self.client.session, self.exchange, "complete")
        upstream.user = None
        if reuse and self.asked and not self._upstream_ended and upstream.answers.reusable and not upstream.holds:
            self.client.lane.pool.put(self._use(), upstream)
        else:
            upstream.close()
        self.client.conversed(keep=passing.framing is not Framing.CLOSE)

    def _cut(self) -> None:
        if self.passing is None:
            self.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream closed without a valid answer")
        else:
            self._end_as("upstream_closed")

    def broken(self, _why: str) -> None:
        if self.passing is None:
            self.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream closed without a valid answer")
        else:
            self._end_as("upstream_closed")

    def _end_as(self, end: str) -> None:
        """Break off an answer that is under way, so that its client sees that it is not whole."""
        self._over = True
        self._drop_upstream()
        self.client.lane.gate.finish(self.client.session, self.exchange, end)
        self.client.conversed(keep=False, whole=self._passed.framing is not Framing.CLOSE, goodbye=False)

    def refuse(self, reason: Reason | None = None, detail: str = "") -> None:
        if self._over:
            return
        self._over = True
        if reason is not None:
            self.exchange.refuse(reason, detail)
        self._drop_upstream()
        self.client.answer_refusal(self.exchange)

    def broke(self) -> None:
        self.client.failed()

    def drop(self) -> None:
        """The client is gone, or must go."""
        self._over = True
        self._drop_upstream()

    def _drop_upstream(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        if self.upstream is not None:
            self.upstream.user = None
            self.upstream.abort()


def _head_bytes(status: int, passing: Passing) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, passing.reason), *(name + b": " + value for name, value in passing.headers)]
    return b"\r\n".join([*lines, b"", b""])
