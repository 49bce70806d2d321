"""Overlap: whether two allow rules can match the same request. Finds the rules that a policy must not hold together.

A policy of thousands of rules is checked without comparing each with each: rules are looked up by the host they
name, then by path or port; only those that agree in these are compared one by one. Expiry is left out on purpose:
of two rules, both hold until the first of them expires.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, product

from proxy.policy.address import Network
from proxy.policy.host import HostPattern
from proxy.policy.path import PathPattern
from proxy.policy.rules import NEVER_METHODS, Rule

type _Place = tuple[str, str] | tuple[int, int, int]  # a host pattern's kind and name, or a network

_EVERYTHING = (PathPattern((), rest=True),)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two allow rules, in the order of their ids, that can match the same request and must not.

    `tunnel`: one of them opens a tunnel where the other inspects; otherwise they name different credentials.
    """

    one: Rule
    other: Rule
    tunnel: bool


def overlap(one: Rule, other: Rule) -> bool:
    """Whether some request is matched by both rules, were they both allow rules that inspect."""
    return (
        _share_host(one, other)
        and (one.endpoints is None or other.endpoints is None or not one.endpoints.isdisjoint(other.endpoints))
        and _share_method(one, other)
        and _share_query(one, other)
        and _share_path(one, other)
    )


def conflicts(rules: Iterable[Rule]) -> Iterator[Conflict]:
    """Every pair of allow rules that must not stand in one policy, each once, as they are found."""
    every = tuple(rules)
    lengths = frozenset((net.version, net.prefixlen) for rule in every for net in rule.networks)
    seen: set[tuple[str, str]] = set()
    for one, other, tunnel in chain(_over_credentials(every, lengths), _over_tunnels(every, lengths)):
        first, second = sorted((one, other), key=lambda rule: rule.id)
        if (first.id, second.id) not in seen:
            seen.add((first.id, second.id))
            yield Conflict(first, second, tunnel)


type _Lengths = frozenset[tuple[int, int]]


def _over_credentials(rules: tuple[Rule, ...], lengths: _Lengths) -> Iterator[tuple[Rule, Rule, bool]]:
    named = [rule for rule in rules if rule.inspect and rule.credential is not None]
    if len({rule.credential for rule in named}) < 2:
        return
    index: dict[_Place, _Node] = defaultdict(_Node)
    for rule in named:
        for place, path in product(_places(rule), rule.paths or _EVERYTHING):
            index[place].insert(path, rule)
    for rule in named:
        for place in _covering(rule, lengths):
            if place not in index:
                continue
            for path in rule.paths or _EVERYTHING:
                yield from (
                    (rule, other, False) for other in index[place].find(path, rule.credential) if overlap(rule, other)
                )


def _over_tunnels(rules: tuple[Rule, ...], lengths: _Lengths) -> Iterator[tuple[Rule, Rule, bool]]:
    kinds = ([rule for rule in rules if not rule.inspect], [rule for rule in rules if rule.inspect])
    if not all(kinds):
        return
    for narrow, wide in (kinds, kinds[::-1]):
        index: dict[_Place, dict[int | None, list[Rule]]] = defaultdict(lambda: defaultdict(list))
        for rule in wide:
            for place, port in product(_places(rule), _ports(rule)):
                index[place][port].append(rule)
        for rule in narrow:
            for place in _covering(rule, lengths):
                yield from ((rule, other, True) for other in _at_ports(index.get(place, {}), _ports(rule)))


def _ports(rule: Rule) -> "frozenset[int | None]":
    """The ports that a rule names; only `None` where it means any."""
    return frozenset({None} if rule.endpoints is None else {port for _, port in rule.endpoints})


def _at_ports(by_port: Mapping[int | None, list[Rule]], ports: frozenset[int | None]) -> Iterator[Rule]:
    wanted = by_port.keys() if None in ports else by_port.keys() & (ports | {None})
    yield from (rule for port in wanted for rule in by_port[port])


@dataclass(slots=True)
class _Node:
    """A tree of path patterns by segment; the rules at a node by the credential that they name."""

    below: "dict[str | None, _Node]" = field(default_factory=dict)
    here: dict[str | None, list[Rule]] = field(default_factory=dict)  # patterns that end here
    rest: dict[str | None, list[Rule]] = field(default_factory=dict)  # patterns that go on with `**`

    def insert(self, pattern: PathPattern, rule: Rule) -> None:
        node = self
        for segment in pattern.segments:
            node = node.below.setdefault(segment, _Node())
        (node.rest if pattern.rest else node.here).setdefault(rule.credential, []).append(rule)

    def find(self, pattern: PathPattern, credential: str | None) -> Iterator[Rule]:
        """The rules with another credential whose pattern may meet this one."""
        stack = [(self, 0)]
        while stack:
            node, depth = stack.pop()
            yield from _others(node.rest, credential)
            if depth < len(pattern.segments):
                stack.extend((child, depth + 1) for child in node._step(pattern.segments[depth]))
                continue
            yield from _others(node.here, credential)
            if pattern.rest:
                stack.extend((child, depth) for child in node.below.values())

    def _step(self, segment: str | None) -> "Iterable[_Node]":
        if segment is None:
            return self.below.values()
        return [self.below[key] for key in (segment, None) if key in self.below]


def _others(rules: dict[str | None, list[Rule]], credential: str | None) -> Iterator[Rule]:
    for name, found in rules.items():
        if name != credential:
            yield from found


def _places(rule: Rule) -> Iterator[_Place]:
    for pattern in rule.hosts:
        yield ("wildcard" if pattern.wildcard else "exact", pattern.name)
    for network in rule.networks:
        yield (network.version, network.prefixlen, int(network.network_address))


def _covering(rule: Rule, lengths: _Lengths) -> Iterator[_Place]:
    """The places of everything that covers a host or a network of the rule. Two that overlap: one covers the other."""
    yield from dict.fromkeys(place for pattern in rule.hosts for place in _over_pattern(pattern))
    yield from dict.fromkeys(place for network in rule.networks for place in _over_network(network, lengths))


def _over_pattern(pattern: HostPattern) -> Iterator[_Place]:
    yield ("wildcard" if pattern.wildcard else "exact", pattern.name)
    name = pattern.name
    while (dot := name.find(".")) >= 0:
        name = name[dot + 1 :]
        yield ("wildcard", name)


def _over_network(network: Network, lengths: _Lengths) -> Iterator[_Place]:
    bits, start = network.max_prefixlen, int(network.network_address)
    for version, length in lengths:
        if version == network.version and length <= network.prefixlen:
            shift = bits - length
            yield (version, length, start >> shift << shift)


def _share_host(one: Rule, other: Rule) -> bool:
    if any(a.overlaps(b) for a, b in product(one.hosts, other.hosts)):
        return True
    pairs = product(one.networks, other.networks)
    return any(a.version == b.version and _networks_meet(a, b) for a, b in pairs)


def _networks_meet(one: Network, other: Network) -> bool:
    shift = one.max_prefixlen - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> shift == int(other.network_address) >> shift


def _share_method(one: Rule, other: Rule) -> bool:
    if one.methods is None or other.methods is None:
        return True
    return bool((one.methods & other.methods) - NEVER_METHODS)


def _share_query(one: Rule, other: Rule) -> bool:
    # A key that both name occurs exactly once, so it cannot have two values.
    wanted = dict(one.query)
    return all(wanted.get(key, value) == value for key, value in other.query)


def _share_path(one: Rule, other: Rule) -> bool:
    if one.paths is None or other.paths is None:
        return True
    # A rule that does not keep encoded slashes cannot read a path that has one.
    strict = not (one.keep_encoded_slash and other.keep_encoded_slash)
    return any(_patterns_meet(a, b, strict) for a, b in product(one.paths, other.paths))


def _patterns_meet(one: PathPattern, other: PathPattern, strict: bool) -> bool:
    if strict and any("/" in segment for segment in (*one.segments, *other.segments) if segment is not None):
        return False
    if len(one.segments) < len(other.segments) and not one.rest:
        return False
    if len(other.segments) < len(one.segments) and not other.rest:
        return False
    return all(_segments_meet(a, b) for a, b in zip(one.segments, other.segments, strict=False))


def _segments_meet(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return "" not in (one, other)  # `*` is never the empty segment behind a trailing slash
    return one == other
