"""A universe of requests, richer than the classes that a difference is computed from; and how one is held to it."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from ipaddress import ip_network
from itertools import product
from types import MappingProxyType

from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Host, HostPattern, parse_host
from proxy.policy.path import parse_pattern, read_path
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.changes import Change, compare
from proxy.review.marks import Mark
from tests.review.diff_oracle import OF_SIDES, marks_of_sides, marks_of_words, same_sides, seen, speaks_of

TODAY = date(2026, 1, 10)
DAYS = [TODAY, date(2026, 1, 11), date(2026, 2, 1), date(2026, 2, 2), date(2030, 1, 1)]
EXPIRES = [date(2026, 1, 9), TODAY, date(2026, 2, 1)]

PATTERNS = [HostPattern("a.com"), HostPattern("x.a.com"), HostPattern("a.com", True), HostPattern("x.a.com", True)]
HOSTS = ["a.com", "x.a.com", "y.a.com", "y.x.a.com", "other.org", "10.0.0.1", "10.0.1.1", "10.9.0.1", "8.8.8.8"]
HOSTS += ["[fd00::1]", "93.184.216.34"]
NETWORKS = [ip_network(text) for text in ("10.0.0.0/16", "10.0.1.0/24", "10.0.1.1/32", "8.8.8.8/32", "fd00::/8")]
PATHS = [
    "/",
    "/a",
    "/a/",
    "/A",
    "/b",
    "/*",
    "/a/*",
    "/*/b",
    "/a/b",
    "/**",
    "/a/**",
    "/*/**",
    "/a/*/**",
    "/ss",
    "/1",
    "/a/*/b",
    "/*/*",
]
KEPT = [*PATHS, "/a%2Fb", "/a%2Fb/*", "/a%2Fb/**"]
TARGETS = ["/", "/a", "/a/", "/A", "/A/", "/B", "/b", "/c", "/a/b", "/a/B", "/a/b/", "/a/c", "/c/b", "/a/b/c", "/c/c/c"]
TARGETS += ["/a%2Fb", "/A%2Fb", "/a%2Fb/", "/a%2Fb/b", "/a%2Fb/c", "/c%2Fb", "/c/a%2Fb", "/a%2F", "/%2Fa", "/a/../b"]
TARGETS += ["//", "/a;b", "/%2e%2e/a", "/ss", "/SS", "/%C3%9F", "/1", "/a%2F%2Fb", "/a%2Fc%2Fb", "/c%2Fc/b/c/"]
TARGETS += ["/..."]
TARGETS += ["/a.", "/a/%20", "/%20/b", "/a%2F%20", "/a./b%20", "/a%2Fb/%20", "/a/c/b", "/a/%20/b", "/A/B/b/", "/b/b"]
TARGETS += [
    "/%20",
    "/a/b/%20",
    "/%2F",
    "/%2F%2Fa/b",
    "/c%2F%2Fa",
    "/a/%2Fb",
    "/a%2F/b",
    "/a%2F/",
    "/a%2F%20%2Fb",
    "/%2F%20/a",
]
QUERIES = [
    "",
    "?k=1",
    "?k=2",
    "?l=1",
    "?k=1&l=1",
    "?k=2&l=1",
    "?k=1&k=1",
    "?k=1&k=2",
    "?x=1;k=1",
    "?k=3",
    "?z",
    "?K=1",
    "?K=1&l=1",
    "?k=1&K=1",
]
CONDITIONS = [(), (), (("k", "1"),), (("k", "2"),), (("k", "2"), ("l", "1"))]
SPELLED = [(("K", "1"),), (("K", "1"), ("l", "1"))]  # deny rules do not see how a key is spelled
METHODS = ["GET", "POST", "PUT", "OPTIONS", "PROPFIND"]
ENDPOINTS = [
    ("https", 443),
    ("http", 80),
    ("https", 8443),
    ("http", 8443),
    *((scheme, 9) for scheme in ("https", "http")),  # a port that no generated rule names alone
]
CREDENTIALS = {
    "c": CredentialSpec("c", "env:C", (HostPattern("a.com"),), inject=Inject(bearer=True)),
    "d": CredentialSpec(
        "d",
        "env:D",
        (HostPattern("a.com"), HostPattern("a.com", True)),
        provider="github",
        replace_client_credentials=True,
    ),
}
EVERY_HTTP = frozenset(("http", port) for port in range(1, 65536))


def policy_of(allow: list[Rule], deny: list[Rule], *, observe: bool = False) -> Policy:
    return Policy(
        name="p",
        observe=observe,
        allow=RuleIndex.of(allow),
        deny=RuleIndex.of(deny),
        ports=frozenset({443}).union(port for rule in allow for _, port in rule.endpoints or ()),
        denied_networks=tuple(network for rule in deny for network in rule.networks),
        credentials=MappingProxyType(CREDENTIALS),
        rules=(*allow, *deny),
    )


OF_WORDS = {Mark.NEW_WRITE, Mark.HTTP}
PLAIN_TARGETS = ["/", "/a", "/b", "/c", "/a/b", "/a/c", "/c/b", "/a/b/c", "/c/c/c"]


def requests(seed: int, count: int) -> Iterator[tuple[Request, date]]:
    """Requests of which many differ in the path alone, or in the query: what words for these must tell apart."""
    choose = random.Random(seed)
    endpoints, methods = [*ENDPOINTS[:1] * 5, *ENDPOINTS], ["GET", "GET", *METHODS]
    for _ in range(count):
        host, method, day = choose.choice(HOSTS), choose.choice(methods), choose.choice(DAYS)
        scheme, port = choose.choice(endpoints)
        targets = [target + query for target in TARGETS for query in (choose.choice(["", *QUERIES]),)]
        targets += [choose.choice(TARGETS) + query for query in QUERIES]
        for target in targets:
            yield Request(scheme, parse_host(host), port, method, target), day


def tells_of_every_request(pair: tuple[Policy, Policy], asked: Iterable[tuple[Request, date]]) -> None:
    """Whatever fares differently is told, by a change with the same two sides and the right marks, and nothing else."""
    old, new = pair
    changes = compare(old, new, TODAY)
    passing = cache(lambda host, *targets: lets_anything_pass(old, host, targets or TARGETS))
    named = [each for rule in (*old.rules, *new.rules) for each in (*rule.hosts, *rule.networks)]
    for request, day in asked:
        before, after = seen(old, request, day), seen(new, request, day)
        about = [each for each in changes if speaks_of(each, request, day, named)]
        told = f"{request.method} {request.scheme}://{request.host.name}:{request.port}{request.target} on {day}: "
        told += f"{before} {after} in {_brief(about or changes)}"
        if before == after:
            assert about == [], told
            continue
        assert about, told
        assert all(same_sides(each, before, after) for each in about), told
        wanted = marks_of_sides(before, after)
        for change in about:
            marks = {*change.marks}
            assert (marks & OF_SIDES, marks & OF_WORDS) == (wanted, marks_of_words(change)), told
        if after.passes and not before.passes:
            known = passing(request.host)
            assert any((Mark.NEW_HOST in change.marks) is not known for change in about), told
            assert any(_widened(old, new, change, request, passing) for change in about), told


def _brief(changes: Iterable[Change]) -> list[tuple[object, ...]]:
    return [
        (
            each.kind.value,
            each.marks,
            each.hosts,
            each.endpoints,
            each.methods,
            each.paths,
            each.but,
            each.queries,
            each.queries_but,
            each.days,
        )
        for each in changes
    ]


def lets_anything_pass(policy: Policy, host: Host, targets: Sequence[str] = TARGETS) -> bool:
    """Whether some request to the host passes. Expired or not, today is the day on which the most does."""
    rules = [rule for rule in policy.rules if rule.speaks_of(host)]
    paths = targets if any(rule.paths is not None for rule in rules) else targets[:1]
    queries = QUERIES if any(rule.query for rule in rules) else QUERIES[:1]
    for (scheme, port), method in product(ENDPOINTS, METHODS):
        if policy.observe or any(
            (rule.endpoints is None or (scheme, port) in rule.endpoints)
            and (rule.methods is None or method in rule.methods)
            for rule in rules
        ):
            near = (Request(scheme, host, port, method, path + query) for path, query in product(paths, queries))
            if any(seen(policy, request, TODAY).passes for request in near):
                return True
    return False


def _widened(old: Policy, new: Policy, change: Change, request: Request, passing: Callable[..., bool]) -> bool:
    """Whether the mark for wildcards is there where it must be, and is not where it cannot be."""
    marked = Mark.WILDCARD_WIDENED in change.marks
    allow = [rule for rule in new.rules if rule.speaks_of(request.host) and rule.id in allowing(new)]
    if Mark.NEW_HOST in change.marks:
        return marked is any(host.startswith(("*.", "any ")) for host in change.hosts)
    patterns = [pattern for rule in (*new.rules, *old.rules) for pattern in rule.paths or ()]
    literal = {str(pattern) for pattern in patterns if not pattern.rest and None not in pattern.segments}
    if not new.observe and all(
        rule.paths is not None and {str(pattern) for pattern in rule.paths} <= literal for rule in allow
    ):
        return not marked
    if request.path in PLAIN_TARGETS:
        segments = read_path(request.path)
        named = any(parse_pattern(text, keep_encoded_slash=True).denies(segments) for text in literal)
        if not named and not passing(request.host, request.path):
            return marked
    return True


def allowing(policy: Policy) -> set[str]:
    indexed = (*policy.allow.exact.values(), *policy.allow.wildcard.values(), policy.allow.literal)
    return {rule.id for rules in indexed for rule in rules}
