"""What is called shadowed or dead is, held against every request of a small universe."""

from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import proxy.review.cover
from proxy.policy.address import Network
from proxy.policy.decide import decide, decide_connect
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.overlap import conflicts
from proxy.policy.path import PathPattern, parse_pattern
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.cover import Covers, Denials, covers, covers_path, loosens

TODAY = date(2026, 1, 2)
DAYS = [None, None, None, date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]
PATTERNS = [HostPattern("a.com"), HostPattern("x.a.com"), HostPattern("a.com", True), HostPattern("x.a.com", True)]
HOSTS = ["a.com", "x.a.com", "y.x.a.com", "10.0.1.1", "10.9.0.1", "[fd00::1]"]
NETWORKS = [ip_network(text) for text in ("10.0.1.0/24", "10.0.1.1/32", "10.0.0.0/8", "fd00::/8")]
PATHS = ["/", "/a", "/A", "/a/", "/*", "/a/*", "/*/b", "/a/b", "/a/b/", "/**", "/a/**", "/*/**"]
KEPT = [*PATHS, "/a%2Fb", "/a%2Fb/*", "/a%2Fb/**"]
TARGETS = [
    "/",
    "/a",
    "/A",
    "/a/",
    "/c",
    "/a/b",
    "/a/B/",
    "/c/b",
    "/a/b/c",
    "/a%2Fb",
    "/a%2Fb/c",
    "/a//b",
    "/a/../b",
    "/;",
]
QUERIES = ["", "?k=1", "?k=2", "?k=1&l=1", "?k=1&k=1"]
ENDPOINTS = [("https", 443), ("https", 8443), ("http", 80)]
METHODS = ["GET", "POST"]


@st.composite
def rules(draw: st.DrawFn, rule_id: str, allow: bool = True) -> Rule:
    keep = allow and draw(st.integers(0, 3)) == 0
    texts = draw(st.none() | st.lists(st.sampled_from(KEPT if keep else PATHS), min_size=1, max_size=2))
    methods = draw(st.none() | st.sets(st.sampled_from(METHODS), min_size=1, max_size=2))
    endpoints = st.frozensets(st.sampled_from(ENDPOINTS), min_size=1, max_size=3)
    hosts = draw(st.lists(st.sampled_from(PATTERNS), max_size=2))
    inspect = not allow or draw(st.integers(0, 5)) > 0
    return Rule(
        id=rule_id,
        where="",
        hosts=tuple(hosts),
        networks=tuple(draw(st.lists(st.sampled_from(NETWORKS), min_size=0 if hosts else 1, max_size=1))),
        endpoints=draw(endpoints if allow else st.none() | endpoints),
        methods=None if methods is None or not inspect else frozenset(methods),
        paths=tuple(parse_pattern(each, keep_encoded_slash=keep) for each in texts) if texts and inspect else None,
        query=draw(st.sampled_from([(), (), (("k", "1"),), (("k", "1"), ("l", "1"))])) if inspect else (),
        keep_encoded_slash=keep and bool(texts) and inspect,
        inspect=inspect,
        http2=allow and inspect and draw(st.booleans()),
        trace_context=allow and inspect and draw(st.booleans()),
        expires=draw(st.sampled_from(DAYS)) if allow else None,
        credential=draw(st.sampled_from([None, "c"])) if allow and inspect else None,
    )


def several(prefix: str, least: int, most: int, *, allow: bool = True) -> st.SearchStrategy[tuple[Rule, ...]]:
    return st.integers(least, most).flatmap(
        lambda count: st.tuples(*(rules(f"{prefix}{number}", allow) for number in range(count)))
    )


UNIVERSE = [
    Request(scheme, parse_host(host), port, method, target + query)
    for host, (scheme, port), method, target, query in product(HOSTS, ENDPOINTS, METHODS, TARGETS, QUERIES)
]
PLACES = [(parse_host(host), port) for host in HOSTS for port in (443, 8443, 80)]


def policy_of(allow: tuple[Rule, ...], deny: tuple[Rule, ...] = ()) -> Policy:
    ports = frozenset({443}).union(port for rule in allow for _, port in rule.endpoints or ())
    return Policy(allow=RuleIndex.of(allow), deny=RuleIndex.of(deny), ports=ports)


def within(inner: tuple[Network, ...], outer: tuple[Network, ...]) -> bool:
    """Whether every address of the one lies in the other."""
    return all(any(str(b) in {str(a), *_supernets(a)} for b in outer) for a in inner)


def _supernets(network: Network) -> set[str]:
    return {str(network.supernet(new_prefix=length)) for length in range(network.prefixlen)}


def leaving_out_takes_nothing_away(allow: tuple[Rule, ...], deny: tuple[Rule, ...]) -> None:
    assume(not list(conflicts(allow)))
    index, own = Covers(allow), frozenset(rule.id for rule in allow)
    wides = {rule.id: index.of(rule, own) for rule in allow}
    assume(any(wides.values()))
    left = tuple(rule for rule in allow if wides[rule.id] is None)
    loose = any(wide is not None and loosens(wide, rule) for rule in allow for wide in [wides[rule.id]])
    before, after = policy_of(allow, deny), policy_of(left, deny)

    for request in UNIVERSE:
        one, other = decide(before, request, TODAY), decide(after, request, TODAY)
        if one.allowed or not loose:
            assert (one.allowed, one.credential) == (other.allowed, other.credential), request
        if one.allowed:
            assert within(one.networks, other.networks), request
            assert one.trace_context == other.trace_context, request
    for host, port in PLACES:
        first, second = decide_connect(before, host, port, TODAY), decide_connect(after, host, port, TODAY)
        assert (first.decision.allowed, first.tunnel) == (second.decision.allowed, second.tunnel)
        assert first.http2 == second.http2


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(several("r", 2, 4), several("d", 0, 1, allow=False))
def test_leaving_out_every_shadowed_rule_takes_nothing_away(allow: tuple[Rule, ...], deny: tuple[Rule, ...]) -> None:
    leaving_out_takes_nothing_away(allow, deny)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(several("r", 2, 4), several("d", 0, 1, allow=False))
def test_leaving_out_shadowed_rules_takes_nothing_away_in_many(allow: tuple[Rule, ...], deny: tuple[Rule, ...]) -> None:
    leaving_out_takes_nothing_away(allow, deny)


def what_is_dead_allows_nothing(rule: Rule, deny: tuple[Rule, ...]) -> None:
    assume(Denials(deny).of(rule))
    policy = policy_of((replace(rule, expires=None),), deny)

    if rule.inspect:
        assert not any(decide(policy, request, TODAY).allowed for request in UNIVERSE)
    for host, port in PLACES:
        connect = decide_connect(policy, host, port, TODAY)
        assert not (connect.tunnel and connect.decision.allowed)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules("r"), several("d", 1, 3, allow=False))
def test_a_rule_that_is_called_dead_allows_nothing(rule: Rule, deny: tuple[Rule, ...]) -> None:
    what_is_dead_allows_nothing(rule, deny)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules("r"), several("d", 1, 3, allow=False))
def test_rules_that_are_called_dead_allow_nothing_in_many(rule: Rule, deny: tuple[Rule, ...]) -> None:
    what_is_dead_allows_nothing(rule, deny)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(several("r", 2, 5))
def test_the_index_finds_what_comparing_each_with_each_finds(allow: tuple[Rule, ...]) -> None:
    index, own = Covers(allow), frozenset(rule.id for rule in allow)
    for rule in allow:
        expected = any(
            other.id != rule.id and covers(other, rule) and (other.id < rule.id or not covers(rule, other))
            for other in allow
        )
        assert (index.of(rule, own) is not None) == expected


PATTERNS_OF_PATHS = [parse_pattern(text, keep_encoded_slash=True) for text in KEPT]
SEGMENTS = [("",), ("a",), ("b",), ("A",), ("a", ""), ("a", "b"), ("b", "b"), ("a", "b", ""), ("b", ""), ("a/b",)]
SEGMENTS += [("a/b", "c"), ("z", "z", "z"), ("a", "b", "z", ""), ("a", "z"), ("z", "b"), ("a/b", ""), ("z", "z", "")]


@pytest.mark.parametrize("wide", PATTERNS_OF_PATHS, ids=str)
@pytest.mark.parametrize("narrow", PATTERNS_OF_PATHS, ids=str)
def test_a_path_pattern_covers_another_if_it_matches_all_its_paths(wide: PathPattern, narrow: PathPattern) -> None:
    expected = all(wide.matches(path) for path in SEGMENTS if narrow.matches(path))

    assert covers_path(wide, narrow) == expected


@pytest.mark.parametrize(("keep", "covered"), [(False, False), (True, True)])
def test_a_rule_without_paths_is_covered_by_every_path_only_where_slashes_are_kept(keep: bool, covered: bool) -> None:
    """A third rule may settle what a path with an encoded slash means; the one without paths still counts then."""
    every = rule("wide", paths=(PathPattern((), rest=True),), keep_encoded_slash=keep)
    assert covers(every, rule("narrow")) is covered


def rule(rule_id: str, **more: object) -> Rule:
    return Rule(id=rule_id, where="", **{"hosts": (HostPattern("a.com"),), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "more",
    [
        {"credential": "c"},
        {"http2": True},
        {"trace_context": True},
        {"inspect": False, "methods": None},
        {"expires": date(2027, 1, 1), "hosts": (HostPattern("b.com"),)},
        {"networks": (ip_network("10.0.0.0/8"),)},
        {"methods": None},
        {"endpoints": frozenset({("https", 8443)})},
    ],
)
def test_a_rule_that_brings_something_of_its_own_is_not_shadowed(more: dict[str, object]) -> None:
    assert not covers(rule("wide"), rule("narrow", **more))
    assert covers(rule("wide"), rule("narrow"))


def test_of_two_equal_rules_one_stays() -> None:
    pair = (rule("a"), rule("b"))
    index = Covers(pair)

    assert index.of(pair[0], frozenset({"a", "b"})) is None
    assert index.of(pair[1], frozenset({"a", "b"})) is pair[0]
    assert index.of(pair[0], frozenset({"a"})) is pair[1], "what a base says already is not said again"


def test_a_rule_that_ends_first_shadows_nothing() -> None:
    short = rule("short", hosts=(HostPattern("a.com", True),), expires=date(2026, 5, 1))

    assert not covers(short, rule("long", hosts=(HostPattern("x.a.com"),), expires=date(2026, 5, 2)))
    assert covers(short, rule("same", hosts=(HostPattern("x.a.com"),), expires=date(2026, 5, 1)))


@pytest.mark.parametrize(("kind", "most"), [("path", 2), ("query", 200), ("port", 200)])
def test_ten_thousand_rules_are_not_compared_each_with_each(
    kind: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(number: int) -> Rule:
        if kind == "path":
            return rule(f"r{number}", paths=(parse_pattern(f"/a/p{number}/*"),))
        if kind == "query":
            return rule(f"r{number}", query=(("k", str(number)),))
        return rule(f"r{number}", endpoints=frozenset({("https", number + 1)}))

    every = [made(number) for number in range(10_000)]
    compared = 0

    def counted(wide: Rule, narrow: Rule) -> bool:
        nonlocal compared
        compared += 1
        return covers(wide, narrow)

    monkeypatch.setattr(proxy.review.cover, "covers", counted)
    index = Covers(every)
    assert not any(index.of(each, frozenset()) for each in every)
    assert compared <= most * len(every)
