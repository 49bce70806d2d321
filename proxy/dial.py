"""The dial: the only place that resolves names and opens connections to the network.

Resolves once, vets every answer, and connects to an address that was vetted.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address

from proxy import limits
from proxy.policy.address import Network, may_dial, within
from proxy.policy.host import Address, Host
from proxy.policy.reason import Reason

_MAX_ADDRESSES = 8


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


@dataclass(frozen=True)
class Dialer:
    """`connect_to` maps (host, port) to an address of the operator's choice, which is not vetted."""

    connect_to: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32, "resolve"))

    def mapped(self, grant: Grant) -> tuple[str, int] | None:
        return self.connect_to.get((grant.host.name, grant.port))

    async def open[T](self, grant: Grant, connect: Callable[[str, int], Awaitable[T]]) -> T:
        """Connect to the grant's destination: what `connect` returns for an address and port that were vetted.

        Raises `DialError`.
        """
        try:
            async with asyncio.timeout(limits.DIAL_TIME):
                mapped = self.mapped(grant)
                if mapped is not None:
                    return await _connect(connect, [mapped])
                addresses = await self._resolve(grant)
                for address in addresses:
                    grant.vet(address)
                return await _connect(connect, [(str(address), grant.port) for address in addresses])
        except TimeoutError:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, "the connection timed out") from None

    async def _resolve(self, grant: Grant) -> list[Address]:
        if grant.host.address is not None:
            return [grant.host.address]
        loop = asyncio.get_running_loop()
        try:
            answers = await asyncio.wait_for(
                loop.run_in_executor(self._threads, _getaddrinfo, grant.host.name, grant.port), limits.RESOLVE_TIME
            )
        except (OSError, UnicodeError) as error:
            raise DialError(Reason.UPSTREAM_UNREACHABLE, f"the name does not resolve: {error}") from None
        return list(dict.fromkeys(answers))


def _getaddrinfo(name: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


async def _connect[T](connect: Callable[[str, int], Awaitable[T]], destinations: Iterable[tuple[str, int]]) -> T:
    why = "the name has no address"
    for ip, port in list(destinations)[:_MAX_ADDRESSES]:
        try:
            return await connect(ip, port)
        except OSError as error:
            why = f"{ip} port {port}: {error.strerror or error}"
    raise DialError(Reason.UPSTREAM_UNREACHABLE, why)
