"""Addresses: which IP addresses may be dialled at all.

Owns the table of ranges that no rule reaches without naming them; never resolves a name.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from proxy.policy.host import Address

type Network = IPv4Network | IPv6Network

# Ranges that `ipaddress` calls global (in some Python version) and that are never a public endpoint.
_RESERVED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "168.63.129.16/32",  # Azure wire server
        "192.0.0.0/24",  # RFC 6890
        "192.88.99.0/24",  # RFC 7526, 6to4 relay
        "198.18.0.0/15",  # RFC 2544, benchmarking
        "240.0.0.0/4",
        "64:ff9b::/96",  # RFC 6052, NAT64
        "64:ff9b:1::/48",  # RFC 8215, local NAT64
        "100::/64",
        "2001::/32",  # RFC 4380, Teredo
        "2001:db8::/32",
        "2002::/16",  # RFC 3056, 6to4
        "3fff::/20",  # RFC 9637, documentation
        "5f00::/16",  # RFC 9602, segment routing
        "fec0::/10",
    )
)
# An IPv4-compatible address, ::a.b.c.d (RFC 4291 section 2.5.5.1): deprecated, and ::1 and :: live here too.
_V4_COMPATIBLE = IPv6Network("::/96")


@lru_cache(maxsize=1024)  # asked for each request on a kept connection
def is_public(address: Address) -> bool:
    """Whether the address is an ordinary unicast address of the public internet.

    Loopback, private, link-local, metadata, CGNAT, multicast, unspecified, reserved and every
    translated form (IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo) are not.
    """
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in _V4_COMPATIBLE):
        return False
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return False
    return not within(address, _RESERVED)


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the address lies in one of the networks. A mapped address is never the IPv4 one."""
    return any(address.version == network.version and address in network for network in networks)


def may_dial(address: Address, opened: Iterable[Network]) -> bool:
    """Whether a rule that opens `opened` may connect to the address."""
    return is_public(address) or within(address, opened)


__all__ = ["IPv4Address", "IPv6Address", "Network", "is_public", "may_dial", "within"]
