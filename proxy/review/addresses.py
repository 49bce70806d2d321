"""Classes of addresses: spans between which no rule, and nothing in the table of public addresses, draws a line."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range

from proxy.policy.address import Network, is_public
from proxy.policy.host import Address

# Every range at whose ends `is_public` may change: the special-purpose registries of IANA for IPv4 and IPv6.
_SPECIAL: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001::/32"),
        *("2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:3::/32", "2001:4:112::/48", "2001:20::/28"),
        *("2001:30::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
        *("fec0::/10", "ff00::/8", "::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/3"),
        *("6000::/3", "8000::/3", "a000::/3", "c000::/3", "e000::/4", "f000::/5", "f800::/6", "fe00::/9"),
    )
)
_ENDS = {4: 1 << 32, 6: 1 << 128}

_FEW = 2  # networks that need no words for what is not meant

type _Point = tuple[int, int]  # version, and the address as a number; the end of a version stands behind its last


@dataclass(frozen=True)
class Addresses:
    """All addresses, cut into spans by the networks of some rules. A span is known by its number."""

    networks: tuple[Network, ...]

    @cached_property
    def starts(self) -> tuple[_Point, ...]:
        points = {(version, number) for version, end in _ENDS.items() for number in (0, end)}
        for network in (*_SPECIAL, *self.networks):
            points.update(_ends(network))
        return tuple(sorted(points))

    @cached_property
    def _number(self) -> dict[_Point, int]:
        return {point: number for number, point in enumerate(self.starts)}

    @cached_property
    def spans(self) -> tuple[int, ...]:
        return tuple(number for number, (version, at) in enumerate(self.starts) if at < _ENDS[version])

    @cached_property
    def public(self) -> frozenset[int]:
        return frozenset(number for number in self.spans if is_public(self.first(number)))

    def first(self, span: int) -> Address:
        """The first address of a span, which stands for all of it."""
        version, number = self.starts[span]
        return IPv4Address(number) if version == 4 else IPv6Address(number)

    def within(self, networks: Iterable[Network]) -> frozenset[int]:
        """The spans of networks that are among those that cut."""
        found: set[int] = set()
        for network in networks:
            first, end = _ends(network)
            found.update(range(self._number[first], self._number[end]))
        return frozenset(found)

    def texts(self, spans: Iterable[int]) -> tuple[str, ...]:
        """The spans as few networks; one that was named can be told with what of it is not meant."""
        left, found = frozenset(spans), dict[str, None]()
        if len(self._plain(left)) <= _FEW:
            return self._plain(left)
        for network in sorted(set(self.networks), key=lambda each: each.num_addresses, reverse=True):
            inside = self.within([network])
            but, plain = self._plain(inside - left), self._plain(inside & left)
            if len(but) + 1 < len(plain):
                found |= dict.fromkeys([f"{network} (except {', '.join(but)})"])
                left -= inside
        return tuple(dict.fromkeys((*found, *self._plain(left))))

    def _plain(self, spans: Iterable[int]) -> tuple[str, ...]:
        """The fewest networks that are the spans."""
        found: list[str] = []
        runs: list[list[int]] = []
        for span in sorted(spans):
            if runs and runs[-1][1] == span and self.starts[span][0] == self.starts[runs[-1][0]][0]:
                runs[-1][1] = span + 1
            else:
                runs.append([span, span + 1])
        for first, end in runs:
            last = self.starts[end][1] - 1
            begin = self.first(first)
            if isinstance(begin, IPv4Address):
                found.extend(str(network) for network in summarize_address_range(begin, IPv4Address(last)))
            else:
                found.extend(str(network) for network in summarize_address_range(begin, IPv6Address(last)))
        return tuple(text.removesuffix("/32" if "." in text else "/128") for text in found)


def _ends(network: Network) -> tuple[_Point, _Point]:
    first = int(network.network_address)
    return (network.version, first), (network.version, first + network.num_addresses)
