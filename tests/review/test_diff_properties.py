"""The difference, held against every request of a universe that is richer than the classes it is computed from."""

import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from ipaddress import ip_network
from itertools import product
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Address, Host, HostPattern, parse_host
from proxy.policy.path import PathPattern, folded_segment, parse_pattern, read_path
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.changes import Change, compare
from proxy.review.diff import Found, cutting, differences
from proxy.review.hosts import Sides
from proxy.review.marks import Mark
from tests.review.diff_oracle import (
    OF_SIDES,
    kind_of,
    marks_of_sides,
    marks_of_words,
    same_sides,
    seen,
    speaks_of,
)

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
TARGETS += ["/a.", "/a/...", "/.../b", "/a%2F...", "/a./b%20", "/a/c/b", "/a/.../b", "/A/B/b/", "/b/b"]
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


@st.composite
def rules(draw: st.DrawFn, rule_id: str, *, deny: bool) -> Rule:
    keep = not deny and draw(st.booleans())
    texts = draw(st.none() | st.lists(st.sampled_from(KEPT if keep else PATHS), min_size=1, max_size=3))
    inspect = deny or draw(st.sampled_from([True, True, True, True, False]))
    hosts = draw(st.lists(st.sampled_from(PATTERNS), max_size=2))
    endpoints = st.frozensets(st.sampled_from(ENDPOINTS[:4]), min_size=1, max_size=2)
    return Rule(
        id=rule_id,
        where="",
        hosts=tuple(hosts),
        networks=tuple(draw(st.lists(st.sampled_from(NETWORKS), min_size=0 if hosts else 1, max_size=2))),
        endpoints=draw(st.none() | st.just(EVERY_HTTP) | endpoints) if deny else draw(endpoints),
        methods=draw(st.none() | st.frozensets(st.sampled_from(METHODS[:3]), min_size=1)) if inspect else None,
        paths=tuple(parse_pattern(text, keep_encoded_slash=keep) for text in texts) if texts and inspect else None,
        query=draw(st.sampled_from([*CONDITIONS, *(SPELLED if deny else ())])) if inspect else (),
        keep_encoded_slash=keep and inspect,
        inspect=inspect,
        http2=inspect and not deny and draw(st.booleans()),
        expires=None if deny else draw(st.none() | st.none() | st.sampled_from(EXPIRES)),
        credential=draw(st.sampled_from([None, None, "c", "d"])) if inspect and not deny else None,
    )


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


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies that share most of their rules, as two versions of one do."""
    shared = [draw(rules(f"s{n}", deny=draw(st.booleans()))) for n in range(draw(st.integers(0, 3)))]
    kinds = {rule.id: draw(st.booleans()) or rule.keep_encoded_slash or not rule.inspect for rule in shared}
    sides = []
    for side in "on":
        allow = [draw(rules(f"{side}a{n}", deny=False)) for n in range(draw(st.integers(0, 2)))]
        deny = [draw(rules(f"{side}d{n}", deny=True)) for n in range(draw(st.integers(0, 1)))]
        allow += [rule for rule in shared if kinds[rule.id]]
        deny += [rule for rule in shared if not kinds[rule.id]]
        sides.append(policy_of(allow, deny, observe=draw(st.sampled_from([False, False, False, True]))))
    return sides[0], sides[1]


# Shrinking a failure takes minutes; what failed is short enough.
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]


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


# Always the same examples: what they hold is searched for by the slow test below.
@settings(
    phases=[Phase.generate],
    derandomize=True,
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(pairs(), st.integers(0, 10**9))
def test_the_words_and_marks_are_those_of_every_request(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_every_request(pair, requests(seed, 30))


@pytest.mark.slow
@settings(phases=NO_SHRINKING, max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.integers(0, 10**9))
def test_the_words_and_marks_are_those_of_every_request_in_many_pairs(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_every_request(pair, requests(seed, 30))


@st.composite
def near_pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies about one host that differ in paths and queries alone."""
    paths, kept = [*PATHS, "/A/**", "/*/b/**", "/a/b/*"], [*KEPT, "/*/b/**", "/a/b/**"]

    def rule(rule_id: str, *, deny: bool) -> Rule:
        keep = not deny and draw(st.booleans())
        texts = draw(st.none() | st.lists(st.sampled_from(kept if keep else paths), min_size=1, max_size=2))
        return Rule(
            id=rule_id,
            where="",
            hosts=(PATTERNS[0],),
            endpoints=None if deny else frozenset({("https", 443)}),
            paths=None if texts is None else tuple(parse_pattern(text, keep_encoded_slash=keep) for text in texts),
            query=draw(st.sampled_from([(), (), (), *CONDITIONS, *(SPELLED if deny else ())])),
            keep_encoded_slash=keep,
            credential=None if deny else draw(st.sampled_from([None, "c"])),
        )

    sides = [
        policy_of(
            [rule(f"a{n}", deny=False) for n in range(draw(st.integers(1, 3)))],
            [rule(f"d{n}", deny=True) for n in range(draw(st.integers(0, 2)))],
        )
        for _ in "on"
    ]
    return sides[0], sides[1]


def tells_of_paths_and_queries(pair: tuple[Policy, Policy], seed: int) -> None:
    query = random.Random(seed).choice(QUERIES[1:])
    targets = [*TARGETS, *(target + query for target in TARGETS), *("/a/b" + query for query in QUERIES)]
    asked = (Request("https", Host("a.com"), 443, "GET", target) for target in targets)
    tells_of_every_request(pair, ((request, TODAY) for request in asked))


@settings(phases=[Phase.generate], derandomize=True, max_examples=100, deadline=None)
@given(near_pairs(), st.integers(0, 10**9))
def test_the_words_for_paths_and_queries_are_exact(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_paths_and_queries(pair, seed)


@pytest.mark.slow
@settings(phases=NO_SHRINKING, max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(near_pairs(), st.integers(0, 10**9))
def test_the_words_for_paths_and_queries_are_exact_in_many_pairs(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_paths_and_queries(pair, seed)


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


@settings(phases=NO_SHRINKING, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_every_reported_class_has_a_request_that_fares_differently(pair: tuple[Policy, Policy]) -> None:
    old, new = pair
    policies = Sides(old, new)
    for found in differences(policies, cutting(policies), TODAY):
        assert isinstance(found, Found)
        for delta, cells in found.cells.items():
            for cell in random.Random(0).sample(cells, min(len(cells), 30)):
                where = (cell.endpoint.scheme, found.group.hosts[0].host, cell.endpoint.port)
                request = Request(*where, cell.method, cell.path.asked(cell.query.raw))
                own = request.host.address
                sample = [own] if own else _addresses(policies)
                before, after = (seen(each, request, cell.day, sample) for each in (old, new))
                assert before != after, (delta, cell)
                assert kind_of(before, after) is delta.kind


def _addresses(policies: Sides[Policy]) -> list[Address]:
    addresses = cutting(policies)
    return [addresses.first(span) for span in addresses.spans]


def _split(rule: Rule, choose: random.Random) -> list[Rule]:
    """The same meaning as two rules, where the rule has something that can be divided."""
    key = choose.choice(["hosts", "methods", "paths", "endpoints"])
    members = sorted(getattr(rule, key) or (), key=repr)
    if len(members) < 2 or len(members) > 100:
        return [replace(rule, id=f"{rule.id}-renamed")]
    kind = frozenset if key in ("methods", "endpoints") else tuple
    at = choose.randrange(1, len(members))
    parts: list[dict[str, Any]] = [{key: kind(part)} for part in (members[:at], members[at:])]
    return [replace(rule, id=f"{rule.id}-{n}", **part) for n, part in enumerate(parts)]


@settings(phases=NO_SHRINKING, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.randoms(use_true_random=False))
def test_renaming_splitting_and_reordering_rules_is_no_difference(
    pair: tuple[Policy, Policy], choose: random.Random
) -> None:
    old, _ = pair
    allow = allowing(old)
    sides: tuple[list[Rule], list[Rule]] = ([], [])
    for rule in old.rules:
        sides[rule.id not in allow].extend(_split(rule, choose))
    for side in sides:
        choose.shuffle(side)
    new = policy_of(*sides, observe=old.observe)
    assert compare(old, new, TODAY) == ()
    assert compare(new, old, TODAY) == ()


ALIKE: dict[str, list[str]] = defaultdict(list)
for _code in range(0xA1, sys.maxunicode + 1):
    ALIKE[folded_segment(chr(_code))].append(chr(_code))
FAMILIES = [chars for folded, chars in ALIKE.items() if len(chars) > 1 and not folded.isspace()]


@settings(phases=NO_SHRINKING, max_examples=20, deadline=None)
@given(st.sampled_from(FAMILIES), st.randoms(use_true_random=False), st.integers(0xA1, sys.maxunicode))
def test_what_deny_rules_cannot_tell_apart_is_in_one_class(chars: list[str], choose: random.Random, code: int) -> None:
    one, same = choose.sample(chars, 2)
    for before, after in ((one, same), (one, chr(code)), (f"x{one}", f"{same}x")):
        try:
            patterns = [parse_pattern(f"/a/{quote(text, errors='replace')}/b") for text in (before, after)]
        except ValueError:  # a character that no pattern can have
            continue
        old, new = (policy_of([], [_deny(pattern)]) for pattern in patterns)
        alike = folded_segment(before) == folded_segment(after)
        assert (compare(old, new, TODAY) == ()) is alike, (before, after)
        # And an allow rule that names one of them is denied by both, in both spellings.
        opened = [policy_of([_allow(each)], [_deny(patterns[0])]) for each in patterns]
        passing = [any(change.widening for change in compare(Policy(), each, TODAY)) for each in opened]
        assert passing == [False, not alike], (before, after)


def _deny(pattern: PathPattern) -> Rule:
    return Rule(id="d", where="", hosts=(HostPattern("a.com"),), paths=(pattern,), methods=None, endpoints=None)


def _allow(pattern: PathPattern) -> Rule:
    return Rule(id="a", where="", hosts=(HostPattern("a.com"),), paths=(pattern,))
