"""Hosts and authorities: one normalisation for every name that Outgate compares.

Owns the spelling rules; never resolves, never connects. Everything that reaches the
policy as a `Host` is lower-case ASCII without a trailing dot, or one canonical IP address.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Self

type Address = IPv4Address | IPv6Address

INTERNAL = "outgate.internal"
"""The name under which Outgate itself answers its sandboxes: never resolved, never dialled, in no policy."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label starts with a letter, so no IPv4 spelling that a resolver would still
# accept (2130706433, 0x7f000001, 127.1, 0177.0.0.1) can pass for a name (WHATWG URL, "ends in a number").
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[^:@\[\]/?#\\\s]+)(?::([0-9]+))?", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_SHORT = 260  # a longer text is no authority, and not worth to be remembered


class MalformedHost(ValueError):
    """The text is not a host or an authority in the one accepted spelling."""


@dataclass(frozen=True, slots=True)
class Host:
    """A canonical host: a DNS name in A-label form, or an IP literal.

    `name` is what is compared, logged and sent as SNI; `address` is set for literals only.
    """

    name: str
    address: Address | None = None

    @property
    def url_form(self) -> str:
        """The host as it stands in a URL: IPv6 in brackets."""
        return f"[{self.name}]" if isinstance(self.address, IPv6Address) else self.name


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and a port, `1..65535`."""

    host: Host
    port: int

    def __str__(self) -> str:
        return f"{self.host.url_form}:{self.port}"


def parse_host(text: str) -> Host:
    """Normalise one host: case, one trailing dot, brackets of an IPv6 literal.

    Raises `MalformedHost` for everything else that is not canonical, IP spellings included.
    """
    if text.startswith("["):
        return _parse_ipv6(text)
    name = text.lower()
    if name.endswith("."):
        name = name[:-1]
    if _NAME.fullmatch(name):
        return Host(name)
    try:
        address = IPv4Address(name)
    except AddressValueError:
        raise MalformedHost(f"not a host name or IP address: {text[:80]!r}") from None
    return Host(str(address), address)


def is_name(text: str) -> bool:
    """Whether the text is a DNS name, in the very spelling that `parse_host` gives it."""
    return _NAME.fullmatch(text) is not None


def _parse_ipv6(text: str) -> Host:
    try:
        address = IPv6Address(text[1:-1] if text.endswith("]") else "")
    except AddressValueError:
        raise MalformedHost(f"not an IPv6 literal: {text[:80]!r}") from None
    if address.scope_id is not None:
        raise MalformedHost("an IPv6 zone cannot leave the machine that named it")
    return Host(str(address), address)


def parse_authority(text: str, default_port: int | None) -> Authority:
    """Parse `host[:port]` as CONNECT, Host and :authority carry it (RFC 9110 section 7.2).

    Without a port, `default_port` counts; with neither, `MalformedHost` is raised.
    User information, paths and non-ASCII digits are refused.
    """
    return (_known_authority if len(text) <= _SHORT else _read_authority)(text, default_port)


def _read_authority(text: str, default_port: int | None) -> Authority:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise MalformedHost(f"not host:port: {text[:80]!r}")
    if match[2] is None:
        if default_port is None:
            raise MalformedHost("the port is missing")
        return Authority(parse_host(match[1]), default_port)
    if not _PORT.fullmatch(match[2]) or int(match[2]) > 65535:
        raise MalformedHost(f"not a port: {match[2][:12]!r}")
    return Authority(parse_host(match[1]), int(match[2]))


# Each request names the host that its connection names.
_known_authority = lru_cache(maxsize=1024)(_read_authority)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`api.example.com` (exact) or `*.example.com` (one or more labels in front, never the apex)."""

    name: str
    wildcard: bool = False

    def matches(self, host: Host) -> bool:
        if host.address is not None:
            return False
        if self.wildcard:
            return host.name.endswith("." + self.name)
        return host.name == self.name

    def covers(self, other: Self) -> bool:
        """Whether every host that `other` matches is matched by this pattern."""
        if not self.wildcard:
            return not other.wildcard and other.name == self.name
        if other.wildcard and other.name == self.name:
            return True
        return other.name.endswith("." + self.name)

    def overlaps(self, other: Self) -> bool:
        """Whether some host matches both. Two patterns overlap only if one covers the other."""
        return self.covers(other) or other.covers(self)

    def __str__(self) -> str:
        return f"*.{self.name}" if self.wildcard else self.name
