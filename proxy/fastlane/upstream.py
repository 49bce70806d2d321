"""One connection to an upstream, dialled as a decision granted it."""

import asyncio
import ssl
from collections.abc import Callable, Hashable
from typing import Protocol

from proxy import limits
from proxy.dial import Dialer, DialError, Grant
from proxy.fastlane.parse import Answers
from proxy.fastlane.tls import Tls
from proxy.fastlane.wire import Wire
from proxy.policy.reason import Reason
from proxy.turns import Share


class User(Protocol):
    """Who uses an upstream connection: one exchange at a time."""

    def answered(self) -> None:
        """There is more to read of the answer."""

    def upstream_ended(self, *, whole: bool) -> None:
        """The upstream will say nothing more."""

    def upstream_drained(self) -> None: ...

    def broke(self) -> None:
        """Our own code raised."""


class Upstream(Wire):
    """A connection that was dialled for a grant, and verified if it is one of TLS.

    What an upstream says that nobody asked ends it; but behind a tunnel it `speaks_first`, and is read once it has a
    user.
    """

    def __init__(self, tls: Tls | None, share: Share | None = None, *, speaks_first: bool = False) -> None:
        super().__init__(share)
        self.tls = tls
        self._speaks_first = speaks_first
        self.answers = Answers()
        self.user: User | None = None
        self.ip: str | None = None
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def verified(self) -> bool:
        """Whether TLS is up: its context verifies."""
        return self.tls is not None and self.tls.established

    async def greeted(self) -> None:
        """Return once TLS is up. Raises `DialError`."""
        if self.tls is not None:
            self.guarded(self._greet, self.tls)
            await self._greeted

    def _greet(self, tls: Tls) -> None:
        tls.start()
        self.transport.write(tls.pending())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.ip = peer[0] if peer else None
        if self._speaks_first:
            self.pause()

    def received(self, data: bytes) -> None:
        if self.tls is not None and self.tls.established and not self._greeted.done():
            self._greeted.set_result(None)
        if not data:
            return
        if self.user is None:
            self.abort()  # nothing was asked
            return
        self.answers.feed(data)
        self.user.answered()

    def take_no_more(self) -> None:
        """The answer is whole: what stands behind it was not asked for, and no other request gets it."""
        if self.answers.spoilt:
            self.pause()

    def said_all(self, *, whole: bool) -> None:
        if not self._greeted.done():
            self._fail(Reason.UPSTREAM_UNREACHABLE, "the upstream closed during the TLS handshake")
        if self.user is not None:
            self.user.upstream_ended(whole=whole)
        else:
            self.abort()

    def gone(self) -> None:
        self._fail(Reason.UPSTREAM_UNREACHABLE, "the upstream closed during the TLS handshake")
        if self.user is not None:
            self.user.upstream_ended(whole=False)

    def drained(self) -> None:
        if self.user is not None:
            self.user.upstream_drained()

    def tls_failed(self, error: ssl.SSLError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self._fail(Reason.UPSTREAM_UNVERIFIED, f"Certificate verify failed: {error.verify_message}")
        else:
            self._fail(Reason.UPSTREAM_UNREACHABLE, f"TLS failed: {error.reason or 'broken'}")
        if self.tls is not None and (alert := self.tls.pending()):
            self.transport.write(alert)
        self.abort()
        if self.user is not None:
            self.user.upstream_ended(whole=False)

    def failed(self) -> None:
        self._fail(Reason.POLICY_ERROR, "an internal error")
        self.abort()
        if self.user is not None:
            self.user.broke()

    def _fail(self, reason: Reason, detail: str) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(DialError(reason, detail))
            self._greeted.exception()  # nobody need wait for it


async def dial(dialer: Dialer, grant: Grant, asker: Hashable, make: Callable[[], Upstream]) -> Upstream:
    """Connect to a grant's destination for `asker`, with TLS if what `make` returns has it. Raises `DialError`."""
    upstream: Upstream | None = None

    async def connect(ip: str, port: int) -> Upstream:
        _, made = await asyncio.get_running_loop().create_connection(make, ip, port)
        return made

    try:
        async with asyncio.timeout(limits.DIAL_TIME):
            upstream = await dialer.open(grant, asker, connect, Upstream.abort)
            await upstream.greeted()
    except TimeoutError:
        if upstream is not None:
            upstream.abort()
        raise DialError(Reason.UPSTREAM_UNREACHABLE, "the TLS handshake timed out") from None
    except BaseException:
        if upstream is not None:
            upstream.abort()
        raise
    return upstream
