"""The dial: the only place that resolves names and opens connections to the network.

Resolves once, vets every answer, and connects to an address that was vetted.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from itertools import zip_longest
from queue import SimpleQueue
from threading import Lock, Thread

from proxy import limits
from proxy.endpoint import Listen
from proxy.policy.address import Network, may_dial, within
from proxy.policy.host import Address, Host
from proxy.policy.reason import Reason

_MAX_ADDRESSES = 8
_KEPT = 8  # threads that wait for look-ups
_NEXT = 0.25  # seconds before another address is tried beside the last one (RFC 8305 section 5)


class DialError(Exception):
    """No connection was made. The text is for the audit log; a refusal shows the reason alone."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to dial one destination, made by a decision: what it opens, and what deny rules close."""

    host: Host
    port: int
    opened: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def vet(self, address: Address) -> None:
        """Raise `DialError` unless the address may be dialled."""
        if within(address, self.denied):
            raise DialError(Reason.DENIED_BY_RULE, f"{address} is denied by a rule")
        if not may_dial(address, self.opened):
            raise DialError(Reason.ADDRESS_IS_PRIVATE, f"{self.host.name} has the address {address}")


class _Threads:
    """Threads for look-ups. Each has one of its own as long as it runs: the system may wait for an answer longer than
    anybody here, and a thread that all share would be missed by all. A few that are done wait for more.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._free = 0  # that wait for work, and were not promised any
        self._lock = Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Begin at once, in a thread that does nothing else. Raises `RuntimeError` where the system has none."""
        with self._lock:
            promised = self._free > 0
            self._free -= promised
        if promised:
            self._work.put(work)
        else:
            Thread(target=self._turn, args=(work,), name="resolve", daemon=True).start()

    def _turn(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                if self._free == _KEPT:
                    return
                self._free += 1
            work = self._work.get()


class _LookUps:
    """The look-ups that run, by who asked and by name."""

    def __init__(self) -> None:
        self._running: dict[Hashable, dict[str, asyncio.Future[list[Address]]]] = {}
        self._threads = _Threads()

    def of(self, asker: Hashable, name: str) -> asyncio.Future[list[Address]]:
        """The look-up of a name: one that runs, or a new one. Raises `DialError` where `asker` has too many."""
        running = self._running.get(asker, {})
        if name in running:
            return running[name]
        if len(running) >= limits.MAX_LOOKUPS:
            raise DialError(Reason.LIMIT_EXCEEDED, "too many names are being looked up for this sandbox")
        answer = self._begin(name)
        self._running.setdefault(asker, running)[name] = answer
        answer.add_done_callback(lambda _: self._end(asker, name))
        return answer

    def _end(self, asker: Hashable, name: str) -> None:
        self._running[asker].pop(name).exception()  # looked at, as nobody may wait for it any more
        if not self._running[asker]:
            del self._running[asker]

    def _begin(self, name: str) -> asyncio.Future[list[Address]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def look_up() -> None:
            try:
                settle = partial(answer.set_result, _getaddrinfo(name))
            except BaseException as error:  # noqa: BLE001 - for who waits for it
                settle = partial(answer.set_exception, error)
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(settle)

        try:
            self._threads.run(look_up)
        except RuntimeError:
            raise DialError(Reason.LIMIT_EXCEEDED, "the system has no thread for a look-up") from None
        return answer


@dataclass(frozen=True)
class Dialer:
    """`connect_to` maps (host, port) to an address of the operator's choice, which is not vetted. `private` are
    the addresses that this proxy listens on, for its operator and for clients: no rule and no mapping leads there.

    A name is looked up as it was judged: the search list of the host would make another one of it (resolv.conf(5)).
    """

    connect_to: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    private: Sequence[Listen] = ()
    _lookups: _LookUps = field(default_factory=_LookUps)

    def __post_init__(self) -> None:
        # Takes the place of the search list in this process. A dot behind the name would do so too, but then
        # /etc/hosts does not know it.
        os.environ["LOCALDOMAIN"] = "."

    def mapped(self, grant: Grant) -> tuple[str, int] | None:
        return self.connect_to.get((grant.host.name, grant.port))

    async def open[T](
        self,
        grant: Grant,
        asker: Hashable,
        connect: Callable[[str, int], Awaitable[T]],
        discard: Callable[[T], None],
    ) -> T:
        """Connect to the grant's destination: what `connect` returns for an address and port that were vetted.

        Several may be connected to at a time; `discard` closes what is not returned. The look-up counts for `asker`.
        Raises `DialError`.
        """
        try:
            async with asyncio.timeout(limits.DIAL_TIME):
                mapped = self.mapped(grant)
                if mapped is not None:
                    self._keep_private([ip_address(mapped[0])], mapped[1])
                    return await _connect(connect, discard, [mapped])
                addresses = await self._resolve(grant, asker)
                for address in addresses:
                    grant.vet(address)
                self._keep_private(addresses, grant.port)
                return await _connect(connect, discard, [(str(each), grant.port) for each in _in_turns(addresses)])
        except TimeoutError:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, "the connection timed out") from None

    def check(self, grant: Grant, ip: str | None) -> None:
        """Raise `DialError` unless an open connection to this address may be used for the grant: it may have been
        dialled for another one, and a rule opens private addresses for itself alone.
        """
        if ip is None:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, "the connection is gone")
        if self.mapped(grant) is None:
            grant.vet(ip_address(ip.partition("%")[0]))

    def _keep_private(self, addresses: Iterable[Address], port: int) -> None:
        for own in self.private:
            if port == own.port and any(own.reached_by(address) for address in addresses):
                raise DialError(Reason.ADDRESS_IS_PRIVATE, "this proxy listens there itself")

    async def _resolve(self, grant: Grant, asker: Hashable) -> list[Address]:
        if grant.host.address is not None:
            return [grant.host.address]
        answer = self._lookups.of(asker, grant.host.name)
        await asyncio.wait([answer], timeout=limits.RESOLVE_TIME)  # which leaves it to others who wait for it, too
        if not answer.done():
            raise TimeoutError
        try:
            answers = answer.result()
        except (OSError, UnicodeError) as error:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, f"the name does not resolve: {error}") from None
        return list(dict.fromkeys(answers))


def _getaddrinfo(name: str) -> list[Address]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


async def _connect[T](
    connect: Callable[[str, int], Awaitable[T]], discard: Callable[[T], None], destinations: Sequence[tuple[str, int]]
) -> T:
    """The first connection that is made (RFC 8305): another address is tried where one failed or is slow."""
    why = "the name has no address"
    waiting = list(destinations[:_MAX_ADDRESSES])
    running: dict[asyncio.Task[T], str] = {}
    try:
        while waiting or running:
            if waiting:
                ip, port = waiting.pop(0)
                running[asyncio.ensure_future(connect(ip, port))] = f"{ip} port {port}"
            done, _ = await asyncio.wait(
                running, timeout=_NEXT if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                where = running.pop(attempt)
                try:
                    return attempt.result()
                except OSError as error:
                    why = f"{where}: {error.strerror or error}"
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(partial(_forget, discard))
    raise DialError(Reason.UPSTREAM_UNREACHABLE, why)


def _forget[T](discard: Callable[[T], None], attempt: asyncio.Task[T]) -> None:
    """Close what came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        discard(attempt.result())


def _in_turns(addresses: Iterable[Address]) -> list[Address]:
    """One address of each family after the other, the resolver's order kept within each (RFC 8305 section 4)."""
    kept = list(addresses)
    first = [address for address in kept if address.version == kept[0].version]
    other = [address for address in kept if address.version != kept[0].version]
    return [address for pair in zip_longest(first, other) for address in pair if address is not None]
