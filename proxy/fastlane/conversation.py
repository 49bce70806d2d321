"""One exchange that is allowed: its request on the way up, its answer on the way down, each as fast as the other side
takes it, nothing gathered.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from proxy import limits
from proxy.credentials.decode import DecodeError
from proxy.credentials.scrub import Mask
from proxy.credentials.sources import CredentialUnavailable
from proxy.dial import DialError
from proxy.fastlane import reach
from proxy.fastlane.delivery import Delivery
from proxy.fastlane.reader import BadMessage, End
from proxy.fastlane.sending import Sending
from proxy.fastlane.upstream import Upstream
from proxy.head import Head
from proxy.outbound import Outbound
from proxy.passing import Answer, let_pass
from proxy.policy.reason import Reason

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide

log = structlog.get_logger("engine")


class Conversation:
    """Drives one exchange between its client and its upstream."""

    def __init__(self, client: "ClientSide", outbound: Outbound, head: Head) -> None:
        self.client = client
        self.outbound = outbound
        self.exchange = outbound.exchange
        self.head = head
        self.upstream: Upstream | None = None
        self.answered_all = False
        self.delivery: Delivery | None = None  # of an answer that passes
        self._mask: Mask | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._over = False
        self._reused = False
        self._upstream_ended = False
        self._upstream_whole = False
        self._sending: Sending | None = None
        self._has_body = client.requests.has_body

    @property
    def asked(self) -> bool:
        """Whether the request is whole, and sent."""
        return self._sending is not None and self._sending.whole

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
    def _delivered(self) -> Delivery:
        if self.delivery is None:
            raise RuntimeError("no answer yet")
        return self.delivery

    # --- the upstream ---

    @property
    def _repeatable(self) -> bool:
        """Whether it may be asked twice: a request without a body, of a method that changes nothing."""
        return self.exchange.method in ("GET", "HEAD", "OPTIONS") and not self._has_body

    def start(self) -> None:
        longest = limits.KEPT_TIME if self._repeatable else limits.KEPT_TIME_ONCE
        idle = self.client.lane.pool.take(reach.use_of(self.client.session, self.outbound), longest)
        if idle is not None:
            self._reused = True
            self._connected(idle)
            return
        # A task of its own; the client's bytes wait until it is done.
        self._dialling = asyncio.get_running_loop().create_task(self._dial(), name="upstream")

    async def _dial(self) -> None:
        try:
            upstream = await reach.dialled(self.client.lane, self.client.session, self.outbound)
        except DialError as error:
            self.client.guarded(self.refuse, error.reason, str(error))
            return
        except asyncio.CancelledError:
            self.client.guarded(self.refuse, Reason.UPSTREAM_UNREACHABLE, "cancelled")
            return
        except Exception as error:
            log.exception("dial failed", error=type(error).__name__)
            self.client.guarded(self.client.failed)
            return
        if self._over:
            upstream.abort()
            return
        self.client.guarded(self._connected, upstream)

    def _connected(self, upstream: Upstream) -> None:
        self.upstream, upstream.user = upstream, self
        self.client.session.forget_grants()
        try:
            reach.check(self.client.lane, self.outbound, upstream)
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
        asked = self.asked  # once before, on a connection that had closed: the client has no more of it
        self._sending = Sending(self.client, self.exchange, self.head, headers, target)
        self._sending.whole = asked
        if self.client.requests.has_body and self.head.waits_for_continue:
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.advance()

    # --- the request ---

    def pump(self) -> None:
        """Send on what there is of the request."""
        if self.upstream is None or self._over or self._sending is None:
            return
        self._sending.pump(self.upstream)
        if self.asked and self.answered_all:
            self._finish()

    def upstream_drained(self) -> None:
        self.client.advance()

    # --- the answer ---

    def answered(self) -> None:
        if self._over:
            return
        try:
            self._read_answer()
        except BadMessage:
            self._break_off()
        except DecodeError as error:
            self.exchange.detail = str(error)
            self._break_off()

    def _read_answer(self) -> None:
        out: list[bytes] = []
        try:
            while not self._over and not self.answered_all and self._turn(out):
                pass
        finally:
            if out and not self.client.closed:
                self.client.send(b"".join(out))
        if self.answered_all and not self._over:
            self._used.take_no_more()
            if self.asked:
                self._finish()

    def _turn(self, out: list[bytes]) -> bool:
        """Take one piece of the answer; false if there is none, or the client must take first what it was sent."""
        upstream = self._used
        delivery = self.delivery
        if (delivery is not None and not delivery.portion(out)) or not self.client.writable:
            upstream.pause()
            return False
        piece = upstream.answers.next(self.exchange.method)
        if piece is None:
            if not self._upstream_ended:
                upstream.resume()
                return False
            piece = upstream.answers.ended() if self._upstream_whole else None
        if piece is None:
            self._break_off()
        elif isinstance(piece, Answer):
            return self._begin(piece, out)
        elif isinstance(piece, End):
            self._end(out)
        else:
            self._delivered.feed(piece)
        return True

    def _begin(self, answer: Answer, out: list[bytes]) -> bool:
        passing = let_pass(self.exchange, answer, self.head, self._mask)
        if passing is None:
            self.refuse()
            return False
        self.delivery = Delivery(self.client, passing)
        self.delivery.begin(answer.status, out)
        if passing.upgrade:
            self._over = True
            self.client.send(b"".join(out))
            out.clear()
            self.client.become_relay(self._used, self.exchange, self._mask)
            return False
        return True

    def _end(self, out: list[bytes]) -> None:
        self._delivered.end(out)
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
        if self.delivery is None and not self.upstream_spoke and self._again():
            return
        self.answered()

    @property
    def upstream_spoke(self) -> bool:
        return self._used.answers.begun or self.delivery is not None

    def _again(self) -> bool:
        """Ask once more on a connection of its own, where the upstream closed an idle one before it heard (RFC 9112
        section 9.3.1).
        """
        if not self._reused or not self.asked or not self._repeatable:
            return False
        self._reused = self._upstream_ended = False
        self._drop_upstream()  # what else it has to say of its end is not about the next one
        self.upstream = None
        self._dialling = asyncio.get_running_loop().create_task(self._dial(), name="upstream")
        return True

    # --- endings ---

    def _finish(self, *, reuse: bool = True) -> None:
        """Both directions are done."""
        if self._over:
            return
        self._over = True
        upstream = self._used
        self.client.lane.gate.finish(self.client.session, self.exchange, "complete")
        upstream.user = None
        whole = reuse and self.asked and not self._upstream_ended
        client = self.client
        use = reach.use_of(client.session, self.outbound)
        reach.give_back(client.lane, use, upstream, new=not self._reused, whole=whole)
        self.client.conversed(keep=not self._delivered.closes)

    def _break_off(self) -> None:
        """The upstream has no more that can be read: refuse, or let the client see that its answer is not whole."""
        if self.delivery is None:
            self.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream closed without a valid answer")
            return
        self._over = True
        self._drop_upstream()
        self.client.lane.gate.finish(self.client.session, self.exchange, "upstream_closed")
        self.client.conversed(keep=False, whole=not self._delivered.closes, goodbye=False)

    def refuse(self, reason: Reason | None = None, detail: str = "") -> None:
        if self._over:
            return
        self._over = True
        if reason is not None:
            self.exchange.refuse(reason, detail)
        self._drop_upstream()
        self.client.here.refuse(self.exchange)

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
