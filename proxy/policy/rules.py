"""Compiled rules and policies: what `decide` reads. Frozen; made by `proxy.config.compile`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Self

from proxy.policy.address import Network, within
from proxy.policy.credential import CredentialSpec
from proxy.policy.host import Host, HostPattern
from proxy.policy.path import PathPattern

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# CONNECT is the proxy's own; TRACE and TRACK answer with the request, and so with the injected secret.
NEVER_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One `allow` or `deny` rule. `None` for `methods`, `paths` and `endpoints` means any.

    `endpoints` holds `(scheme, port)` pairs. A rule with `inspect=False` opens a tunnel to its ports.
    With `trace_context` the client's trace headers go upstream. `where` is `file:line`.
    """

    id: str
    where: str
    why: str = ""
    hosts: tuple[HostPattern, ...] = ()
    networks: tuple[Network, ...] = ()
    endpoints: frozenset[tuple[str, int]] | None = frozenset({("https", 443)})
    methods: frozenset[str] | None = READ_METHODS
    paths: tuple[PathPattern, ...] | None = None
    query: tuple[tuple[str, str], ...] = ()
    keep_encoded_slash: bool = False
    inspect: bool = True
    http2: bool = False
    trace_context: bool = False
    expires: date | None = None
    credential: str | None = None

    def speaks_of(self, host: Host) -> bool:
        """Whether the rule is about this host at all, whatever else it asks for."""
        if host.address is not None:
            return within(host.address, self.networks)
        return any(pattern.matches(host) for pattern in self.hosts)

    def expired(self, today: date) -> bool:
        return self.expires is not None and today > self.expires

    def opens_port(self, port: int) -> bool:
        return self.endpoints is None or any(port == known for _, known in self.endpoints)


@dataclass(frozen=True, slots=True)
class RuleIndex:
    """Rules found by host: the cost of a look-up does not depend on the number of rules."""

    exact: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    wildcard: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    literal: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Self:
        exact: dict[str, list[Rule]] = {}
        wildcard: dict[str, list[Rule]] = {}
        literal: list[Rule] = []
        for rule in rules:
            for pattern in rule.hosts if len(rule.hosts) == 1 else dict.fromkeys(rule.hosts):
                (wildcard if pattern.wildcard else exact).setdefault(pattern.name, []).append(rule)
            if rule.networks:
                literal.append(rule)
        return cls(
            {name: tuple(found) for name, found in exact.items()},
            {name: tuple(found) for name, found in wildcard.items()},
            tuple(literal),
        )

    def speaking_of(self, host: Host) -> tuple[Rule, ...]:
        """Every rule about the host, each once."""
        if host.address is not None:
            return tuple(rule for rule in self.literal if rule.speaks_of(host))
        found = self.exact.get(host.name, ())
        if not self.wildcard:
            return found
        wide = [rule for suffix in _suffixes(host.name) for rule in self.wildcard.get(suffix, ())]
        return tuple({rule.id: rule for rule in (*found, *wide)}.values()) if wide else found


def _suffixes(name: str) -> Iterator[str]:
    while (dot := name.find(".")) >= 0:
        name = name[dot + 1 :]
        yield name


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A whole policy. The default one has no name and no rules, and denies everything.

    `digest` is the SHA-256 (hex) of what was compiled; `source` the file that a refusal names.
    `ports` are the ports that any rule opens, 443 always among them; `denied_networks` the addresses that
    deny rules name, which no host may resolve into.
    """

    name: str = ""
    digest: str = ""
    source: str = ""
    observe: bool = False
    allow: RuleIndex = RuleIndex()
    deny: RuleIndex = RuleIndex()
    ports: frozenset[int] = frozenset({443})
    denied_networks: tuple[Network, ...] = ()
    credentials: Mapping[str, CredentialSpec] = MappingProxyType({})
    rules: tuple[Rule, ...] = ()
