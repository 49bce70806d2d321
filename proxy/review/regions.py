"""Regions: what can be asked of some hosts, cut into finitely many classes that two policies cannot look into.

Every line that a rule draws (a port, a method, a path, a query, a day) is a border.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import chain, islice

from proxy.policy.rules import READ_METHODS, Rule
from proxy.review.hosts import HostClass, Sides
from proxy.review.path_places import TooLarge
from proxy.review.paths import PathClass, path_classes
from proxy.review.queries import QueryClass, query_classes

OTHER_METHOD = "X-OTHER"
MAX_ENDPOINTS = 2_000
_EVERY_PORT = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A scheme and a port; `other` where the port stands for all that nothing names."""

    scheme: str
    port: int
    other: bool = False

    @property
    def text(self) -> str:
        return self.scheme if self.port == {"https": 443, "http": 80}[self.scheme] else f"{self.scheme}:{self.port}"


@dataclass(frozen=True)
class Speaking:
    """The rules of one policy about a host."""

    allow: tuple[Rule, ...]
    deny: tuple[Rule, ...]

    @cached_property
    def keeping(self) -> tuple[Rule, ...]:
        """The allow rules that can match a path with an encoded slash."""
        return tuple(rule for rule in self.allow if rule.paths is None or rule.keep_encoded_slash)

    @cached_property
    def examples(self) -> tuple[Rule, ...]:
        """Of the allow rules that inspect, one without paths, one that keeps encoded slashes and one that does not."""
        found = {(rule.paths is None, rule.keep_encoded_slash): rule for rule in self.allow if rule.inspect}
        return tuple(found.values())

    @cached_property
    def denying(self) -> tuple[Rule, ...]:
        """One of the deny rules with paths, if there is one."""
        return tuple(islice((rule for rule in self.deny if rule.paths is not None), 1))


@dataclass(frozen=True, slots=True)
class Lines:
    """The classes of all that can be asked but hosts and paths."""

    endpoints: tuple[Endpoint, ...]
    methods: tuple[str, ...]
    queries: tuple[QueryClass, ...]
    days: tuple[date, ...]  # the first day of each span of days


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts about which both policies say the same, the rules that have a say, and the classes that these make."""

    hosts: tuple[HostClass, ...]
    rules: Sides[Speaking]
    lines: Lines
    paths: tuple[PathClass, ...]


def paths_of(rules: Sides[Speaking]) -> tuple[PathClass, ...]:
    """The classes of paths. Raises `TooLarge` where there are more than can be compared."""
    return path_classes(
        ((pattern, rule.keep_encoded_slash) for rule in _allow(rules) for pattern in rule.paths or ()),
        (pattern for side in rules.each() for rule in side.deny for pattern in rule.paths or ()),
    )


def lines_of(rules: Sides[Speaking], today: date) -> Lines:
    """The classes of all else. Raises `TooLarge` where one has more members than can be compared."""
    every = [rule for side in rules.each() for rule in (*side.allow, *side.deny)]
    return Lines(
        tuple(_endpoints(every)),
        (*sorted(READ_METHODS.union(*(rule.methods or () for rule in every))), OTHER_METHOD),
        query_classes(
            (rule.query for rule in _allow(rules)), (rule.query for side in rules.each() for rule in side.deny)
        ),
        tuple(sorted({today, *_days_after(_allow(rules), today)})),
    )


def _allow(rules: Sides[Speaking]) -> Iterator[Rule]:
    return chain.from_iterable(side.allow for side in rules.each())


def _endpoints(rules: Iterable[Rule]) -> Iterator[Endpoint]:
    named = {443, 80}
    for endpoints in {rule.endpoints for rule in rules if rule.endpoints is not None}:
        for scheme in ("https", "http"):
            of_scheme = {port for found, port in endpoints if found == scheme}
            named |= of_scheme if len(of_scheme) < _EVERY_PORT else set()
    if len(named) > MAX_ENDPOINTS:
        raise TooLarge(f"the rules for one host name more than {MAX_ENDPOINTS} ports")
    for port in sorted(named):
        yield from (Endpoint(scheme, port) for scheme in ("https", "http"))
    for port in _free(named):
        yield from (Endpoint(scheme, port, other=True) for scheme in ("https", "http"))


def _free(taken: set[int]) -> list[int]:
    """The first port that is not taken, if there is one."""
    return list(islice((port for port in range(1, 65536) if port not in taken), 1))


def _days_after(rules: Iterable[Rule], today: date) -> Iterator[date]:
    for rule in rules:
        if rule.expires is not None and today <= rule.expires < date.max:
            yield rule.expires + timedelta(days=1)
