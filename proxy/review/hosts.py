"""Classes of hosts: those between which no rule and no credential of two policies draws a line."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from proxy.policy.host import Host, HostPattern
from proxy.policy.rules import Policy
from proxy.review.addresses import Addresses


@dataclass(frozen=True, slots=True)
class Sides[T]:
    """The same thing of the old policy and of the new one."""

    old: T
    new: T

    def each(self) -> tuple[T, T]:
        return self.old, self.new


class HostKind(IntEnum):
    EXACT = 1
    WILDCARD = 2
    ADDRESS = 3
    ANY = 4


@dataclass(frozen=True, slots=True)
class HostClass:
    """Hosts that no pattern tells apart: `host` is one of them. `span` numbers the addresses of a literal."""

    host: Host
    kind: HostKind
    text: str
    span: int | None = None


def host_classes(policies: Sides[Policy], addresses: Addresses) -> Iterator[HostClass]:
    """Every class of hosts, with one of its hosts: each name, each wildcard without what is named more closely."""
    patterns = {pattern for policy in policies.each() for pattern in _patterns(policy)}
    names = {pattern.name for pattern in patterns if not pattern.wildcard}
    for pattern in sorted(patterns, key=lambda each: (each.wildcard, each.name)):
        if pattern.wildcard:
            yield HostClass(Host(_below(pattern.name, names)), HostKind.WILDCARD, str(pattern))
        else:
            yield HostClass(Host(pattern.name), HostKind.EXACT, pattern.name)
    suffixes = {pattern.name for pattern in patterns if pattern.wildcard}
    unnamed = _unnamed(names, suffixes)
    yield HostClass(Host(unnamed), HostKind.ANY, "any host that no rule names")
    named = addresses.within(addresses.networks)
    for span in addresses.spans:
        first = addresses.first(span)
        kind = HostKind.ADDRESS if span in named else HostKind.ANY
        yield HostClass(Host(str(first), first), kind, "any address that no rule names", span)


def grouped[K](classes: Iterable[HostClass], key: Callable[[HostClass], K]) -> Iterator[tuple[HostClass, ...]]:
    """The classes with equal keys, together."""
    found: dict[K, list[HostClass]] = defaultdict(list)
    for each in classes:
        found[key(each)].append(each)
    yield from (tuple(classes) for classes in found.values())


def host_texts(hosts: Iterable[HostClass], named: Sequence[HostClass], addresses: Addresses) -> tuple[str, ...]:
    """The words for some classes, of which `named` are all that have a name: each class once, networks as few."""
    mine = dict.fromkeys(hosts)
    texts = [
        each.text + _except(each, [other for other in named if other not in mine])
        for each in mine
        if each.kind is not HostKind.ADDRESS
    ]
    spans = [each.span for each in mine if each.kind is HostKind.ADDRESS and each.span is not None]
    return tuple(dict.fromkeys((*texts, *addresses.texts(spans))))


def _except(host: HostClass, others: Sequence[HostClass]) -> str:
    """Of a wildcard, what is named more closely and not meant."""
    if host.kind is not HostKind.WILDCARD:
        return ""
    below = [each for each in others if each.text.endswith(host.text[1:])]
    wild = [each.text[1:] for each in below if each.kind is HostKind.WILDCARD]
    most = [
        each.text
        for each in below
        if not any(each.text.endswith(suffix) and each.text[1:] != suffix for suffix in wild)
    ]
    return f" (except {', '.join(most)})" if most else ""


def _patterns(policy: Policy) -> Iterator[HostPattern]:
    for rule in policy.rules:
        yield from rule.hosts
    for spec in policy.credentials.values():
        yield from spec.hosts


def _below(name: str, taken: set[str]) -> str:
    """A host that the wildcard on the name matches, and nothing that is more special."""
    count = 0
    while (host := f"any{count or ''}.{name}") in taken:
        count += 1
    return host


def _unnamed(names: set[str], suffixes: set[str]) -> str:
    count = 0
    while (last := f"any{count or ''}") in suffixes or f"any.{last}" in names | suffixes:
        count += 1
    return f"any.{last}"
