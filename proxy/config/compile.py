"""One file's entries -> rules, and the merged rules -> a `Policy`. Nothing here depends on the order of anything."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from proxy.config.explain import validate
from proxy.config.keys import check_keys
from proxy.config.parse import parse
from proxy.config.schema import AllowRule, CredentialEntry, DenyRule, InjectEntry, PolicyFile
from proxy.config.tree import Document
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.rules import READ_METHODS, Policy, Rule, RuleIndex

_PORTS = {"https": 443, "http": 80}
_EVERY_SCHEME = ("http", "https")
_EVERY_PORT = range(1, 65536)
_by_id = attrgetter("id")


@dataclass(frozen=True, slots=True)
class Part:
    """One policy file, read and compiled, before it is merged with what it extends."""

    document: Document
    model: PolicyFile
    allow: tuple[Rule, ...]
    deny: tuple[Rule, ...]
    credentials: Mapping[str, CredentialSpec]


def read_part(data: bytes, path: str) -> Part:
    """Read one file on its own. Raises `ConfigError` with every fault in it that needs no other file to be seen."""
    document = parse(data, path)
    model = validate(document, PolicyFile, check_keys(document, document.plain))
    return Part(
        document,
        model,
        tuple(_allow(entry, where) for entry, where in zip(model.allow, _places(document, "allow"), strict=True)),
        tuple(_deny(entry, where) for entry, where in zip(model.deny, _places(document, "deny"), strict=True)),
        {name: _credential(name, entry) for name, entry in model.credentials.items()},
    )


def assemble(parts: Sequence[Part]) -> Policy:
    """Merge a policy (first) with the policies that it extends. `check` has found no fault in them."""
    top = parts[0]
    allow = sorted((rule for part in parts for rule in part.allow), key=_by_id)
    deny = sorted((rule for part in parts for rule in part.deny), key=_by_id)
    credentials = {name: spec for part in parts for name, spec in part.credentials.items()}
    observe = top.model.mode == "observe"
    return Policy(
        name=top.model.name,
        digest=_digest(observe, allow, deny, credentials),
        source=top.document.path,
        observe=observe,
        allow=RuleIndex.of(allow),
        deny=RuleIndex.of(deny),
        ports=frozenset({443}).union(port for rule in allow for _, port in rule.endpoints or ()),
        denied_networks=tuple(dict.fromkeys(network for rule in deny for network in rule.networks)),
        credentials=MappingProxyType(dict(sorted(credentials.items()))),
        rules=tuple(sorted((*allow, *deny), key=_by_id)),
    )


def _allow(entry: AllowRule, where: str) -> Rule:
    # One object for the usual case, so that ten thousand rules do not hold ten thousand sets.
    schemes = tuple(entry.schemes) or ("https",)
    return Rule(
        id=entry.id,
        where=where,
        why=entry.why,
        hosts=_unique(entry.hosts),
        networks=_unique(entry.addresses),
        endpoints=_endpoints(schemes, tuple(entry.ports)),
        methods=_methods(entry) if entry.inspect else None,
        paths=_unique(entry.paths) or None,
        query=tuple(sorted(entry.query.items())),
        keep_encoded_slash=entry.encoded_slash == "keep",
        inspect=entry.inspect,
        http2=entry.http2,
        trace_context=entry.trace_context == "keep",
        expires=entry.expires,
        credential=entry.credential,
    )


def _deny(entry: DenyRule, where: str) -> Rule:
    given = entry.access is not None or entry.methods
    # A deny rule means all that it does not name: `ports` alone is every scheme, `schemes` alone every port.
    schemes, ports = tuple(entry.schemes or _EVERY_SCHEME), tuple(entry.ports or _EVERY_PORT)
    return Rule(
        id=entry.id,
        where=where,
        why=entry.why,
        hosts=_unique(entry.hosts),
        networks=_unique(entry.addresses),
        endpoints=_endpoints(schemes, ports) if entry.schemes or entry.ports else None,
        methods=_methods(entry) if given else None,
        paths=_unique(entry.paths) or None,
        query=tuple(sorted(entry.query.items())),
    )


def _methods(entry: AllowRule | DenyRule) -> frozenset[str] | None:
    if entry.access == "any":
        return None
    return _method_set(tuple(entry.methods)) if entry.methods else READ_METHODS


@lru_cache(maxsize=64)
def _method_set(methods: tuple[str, ...]) -> frozenset[str]:
    return frozenset(methods)


@lru_cache(maxsize=64)
def _endpoints(schemes: tuple[str, ...], ports: tuple[int, ...]) -> frozenset[tuple[str, int]]:
    return frozenset((scheme, port) for scheme in schemes for port in ports or (_PORTS[scheme],))


def _credential(name: str, entry: CredentialEntry) -> CredentialSpec:
    return CredentialSpec(
        name=name,
        source=entry.source,
        hosts=_unique(entry.hosts),
        provider=entry.provider,
        inject=_inject(entry.inject) if entry.inject else None,
        placeholder=entry.placeholder,
        replace_client_credentials=entry.client_credentials == "replace",
    )


def _inject(entry: InjectEntry) -> Inject:
    return Inject(
        header=entry.header,
        format=entry.format or "{secret}",
        bearer=entry.bearer is True,
        basic=entry.basic.username if entry.basic else None,
        query=entry.query,
    )


def _digest(observe: bool, allow: list[Rule], deny: list[Rule], credentials: Mapping[str, CredentialSpec]) -> str:
    meaning = {
        "version": 1,
        "observe": observe,
        "allow": [_rule_meaning(rule) for rule in allow],
        "deny": [_rule_meaning(rule) for rule in deny],
        "credentials": {name: {**asdict(spec), "hosts": _texts(spec.hosts)} for name, spec in credentials.items()},
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _rule_meaning(rule: Rule) -> list[object]:
    """What a rule decides and how it is called: not `why`, not where it stands."""
    return [
        rule.id,
        _texts(rule.hosts),
        _texts(rule.networks),
        None if rule.endpoints is None else _sorted(rule.endpoints),
        None if rule.methods is None else _sorted(rule.methods),
        None if rule.paths is None else [[path.segments, path.rest] for path in rule.paths],
        rule.query,
        rule.keep_encoded_slash,
        rule.inspect,
        rule.http2,
        str(rule.expires or ""),
        rule.credential,
        # Only where it is set: policies from before there was this key keep their digest.
        *(("trace_context",) if rule.trace_context else ()),
    ]


@lru_cache(maxsize=64)  # thousands of rules share one of few sets
def _sorted(values: frozenset[Any]) -> list[Any]:
    return sorted(values)


def _texts(values: Iterable[object]) -> list[str]:
    return sorted(map(str, values))


def _unique[T](values: Sequence[T]) -> tuple[T, ...]:
    """Sorted, each once: equal meaning makes equal rules."""
    return tuple(values) if len(values) < 2 else tuple(sorted(dict.fromkeys(values), key=repr))


def _places(document: Document, section: str) -> Iterator[str]:
    """`file:line` of each entry of a section."""
    return (f"{document.path}:{line}" for line in document.lines.get((section,), ()))
