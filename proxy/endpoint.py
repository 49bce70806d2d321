"""Endpoints that the operator names: where to listen, and what to dial in place of a destination."""

import errno
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from proxy.policy.host import INTERNAL, Address, Host, MalformedHost, parse_authority

_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+):([0-9]{1,5})", re.ASCII)
_PART = r"\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+"
_CONNECT_TO = re.compile(rf"((?:{_PART}):[0-9]+):((?:{_PART}):[0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to accept clients: an IP address, and a port `0..65535` where 0 lets the system choose."""

    address: Address
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only processes of this machine can connect."""
        return self.address.is_loopback

    def reached_by(self, address: Address) -> bool:
        """Whether who connects to this address, and the same port, may end up here.

        Beside the address itself that is the unspecified one, which leads to this machine, and any of this machine's
        own where all of them are listened on.
        """
        address = _unmapped(address)
        if address.is_unspecified or address == _unmapped(self.address):
            return True
        return self.address.is_unspecified and _is_own(address)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ADDRESS:PORT`, IPv6 in brackets, or `localhost:PORT`. Raises `ValueError`."""
        match = _LISTEN.fullmatch(text)
        if match is None or int(match[2]) > 65535:
            raise ValueError("not ADDRESS:PORT")
        try:
            bare = match[1].strip("[]")
            address = ip_address("127.0.0.1" if bare == "localhost" else bare)
        except ValueError:
            raise ValueError("not an IP address; use 127.0.0.1, or 0.0.0.0 for every interface") from None
        if (address.version == 6) != match[1].startswith("["):
            raise ValueError("an IPv6 address stands in brackets, an IPv4 address does not")
        return cls(address, int(match[2]))

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def _unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: Address) -> bool:
    """Whether an address is one of this machine: only then can a socket be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """The operator's mapping of one destination, as curl's --connect-to: dial `address:address_port` instead."""

    host: Host
    port: int
    address: Address
    address_port: int

    @property
    def key(self) -> tuple[str, int]:
        """The canonical host name and port that are mapped."""
        return self.host.name, self.port

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `HOST:PORT:ADDR:PORT`; no part may be empty, and ADDR is an IP address. Raises `ValueError`."""
        match = _CONNECT_TO.fullmatch(text)
        if match is None:
            raise ValueError("not HOST:PORT:ADDR:PORT")
        try:
            source, target = parse_authority(match[1], None), parse_authority(match[2], None)
        except MalformedHost as error:
            raise ValueError(str(error)) from None
        if source.host.name == INTERNAL:
            raise ValueError(f"{INTERNAL} is answered by the proxy itself and leads nowhere else")
        if target.host.address is None:
            raise ValueError(f"the mapped address must be an IP address, not the name {target.host.name[:80]!r}")
        return cls(source.host, source.port, target.host.address, target.port)
