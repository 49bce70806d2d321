"""Overlap of rules, held against every request of a small universe."""

import time
from datetime import date
from ipaddress import ip_network
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.decide import _Stage, _stage
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.overlap import conflicts, overlap
from proxy.policy.path import PathPattern, parse_pattern
from proxy.policy.reading import Reading
from proxy.policy.request import Request
from proxy.policy.rules import Rule

TODAY = date(2026, 1, 1)

PATTERNS = [HostPattern("a.com"), HostPattern("x.a.com"), HostPattern("a.com", True), HostPattern("x.a.com", True)]
HOSTS = ["a.com", "x.a.com", "y.a.com", "y.x.a.com", "10.0.0.1", "10.0.1.1", "10.9.0.1", "[fd00::1]"]
NETWORKS = [ip_network(text) for text in ("10.0.0.0/16", "10.0.1.0/24", "10.0.1.1/32", "10.0.0.0/8", "fd00::/8")]
PATHS = ["/", "/a", "/a/", "/b", "/*", "/a/*", "/*/b", "/a/b", "/a/b/", "/**", "/a/**", "/*/**", "/a/*/**"]
KEPT = [*PATHS, "/a%2Fb", "/a%2Fb/*", "/a%2Fb/**"]
TARGETS = [
    "/",
    "/a",
    "/a/",
    "/b",
    "/c",
    "/a/b",
    "/a/b/",
    "/a/c",
    "/c/b",
    "/a/b/c",
    "/c/c/c",
    "/a%2Fb",
    "/a%2Fb/b",
    "/a%2Fb/c",
]
QUERIES = ["", "?k=1", "?k=2", "?l=1", "?k=1&l=1", "?k=2&l=1"]


@st.composite
def rules(draw: st.DrawFn, rule_id: str) -> Rule:
    keep = draw(st.booleans())
    texts = draw(st.none() | st.lists(st.sampled_from(KEPT if keep else PATHS), min_size=1, max_size=2))
    methods = draw(st.none() | st.sets(st.sampled_from(["GET", "POST", "PUT"]), min_size=1, max_size=2))
    endpoints = st.sampled_from([("https", 443), ("http", 80), ("https", 8443), ("http", 8443)])
    hosts = draw(st.lists(st.sampled_from(PATTERNS), max_size=2))
    return Rule(
        id=rule_id,
        where="",
        hosts=tuple(hosts),
        networks=tuple(draw(st.lists(st.sampled_from(NETWORKS), min_size=0 if hosts else 1, max_size=2))),
        endpoints=draw(st.none() | st.frozensets(endpoints, min_size=1, max_size=2)),
        methods=None if methods is None else frozenset(methods),
        paths=None if texts is None else tuple(parse_pattern(text, keep_encoded_slash=keep) for text in texts),
        query=draw(st.sampled_from([(), (("k", "1"),), (("k", "2"),), (("l", "1"),), (("k", "2"), ("l", "1"))])),
        keep_encoded_slash=keep,
        inspect=draw(st.sampled_from([True, True, True, False])),
        credential=draw(st.sampled_from([None, "c", "d", "e"])),
    )


UNIVERSE = [
    Request(scheme, parse_host(host), port, method, target + query)
    for host, (scheme, port), method, target, query in product(
        HOSTS,
        [("https", 443), ("http", 80), ("https", 8443), ("http", 8443)],
        ["GET", "POST", "PUT"],
        TARGETS,
        QUERIES,
    )
]
READINGS = [Reading(request, (), ()) for request in UNIVERSE]


def matching(rule: Rule) -> set[int]:
    """The numbers of the requests that the rule matches, as `decide` sees it."""
    return {
        number
        for number, (request, reading) in enumerate(zip(UNIVERSE, READINGS, strict=True))
        if rule.speaks_of(request.host) and _stage(rule, request, request.method, reading, TODAY) is _Stage.MATCH
    }


@settings(max_examples=150, deadline=None)
@given(rules("a"), rules("b"))
def test_overlap_agrees_with_every_request_of_a_small_universe(one: Rule, other: Rule) -> None:
    met = not matching(one).isdisjoint(matching(other))

    assert overlap(one, other) == met
    assert overlap(other, one) == met


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 7).flatmap(lambda count: st.tuples(*(rules(f"r{n}") for n in range(count)))))
def test_the_conflicts_are_those_that_comparing_each_with_each_finds(every: tuple[Rule, ...]) -> None:
    expected = set()
    for index, one in enumerate(every):
        for other in every[index + 1 :]:
            if one.inspect and other.inspect:
                different = None not in (one.credential, other.credential) and one.credential != other.credential
                if different and overlap(one, other):
                    expected.add((one.id, other.id, False))
            elif one.inspect != other.inspect and _share_host_and_port(one, other):
                expected.add((one.id, other.id, True))

    found = [(conflict.one.id, conflict.other.id, conflict.tunnel) for conflict in conflicts(every)]

    assert len(found) == len(set(found))
    assert set(found) == expected


def _share_host_and_port(one: Rule, other: Rule) -> bool:
    places = [(parse_host(host), port) for host in HOSTS for port in (443, 80, 8443)]
    return any(all(rule.speaks_of(host) and rule.opens_port(port) for rule in (one, other)) for host, port in places)


def rule(rule_id: str = "a", *paths: str, **more: object) -> Rule:
    keep = bool(more.get("keep_encoded_slash"))
    patterns = tuple(parse_pattern(path, keep_encoded_slash=keep) for path in paths) or None
    return Rule(id=rule_id, where="", paths=patterns, **{"hosts": (HostPattern("a.com"),), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("/a", "/a/", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/*/b", True),
        ("/a/*", "/a/", False),
        ("/a/*", "/a", False),
        ("/a/*", "/a/b/c", False),
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/*/b/c", True),
        ("/a/**", "/b/**", False),
        ("/**", "/", True),
        ("/a/b/**", "/a/**", True),
        ("/a/b/**", "/a", False),
    ],
)
def test_paths_meet_where_some_path_matches_both(one: str, other: str, meet: bool) -> None:
    assert overlap(rule("a", one), rule("b", other)) is meet
    assert overlap(rule("b", other), rule("a", one)) is meet


def test_a_star_does_not_meet_a_kept_slash_of_a_rule_that_could_not_read_it() -> None:
    kept = rule("a", "/@scope%2Fname", keep_encoded_slash=True)

    assert not overlap(kept, rule("b", "/*"))
    assert overlap(kept, rule("b", "/*", keep_encoded_slash=True))
    assert overlap(kept, rule("b"))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ({"k": "1"}, {"k": "2"}, False),
        ({"k": "1"}, {"k": "1"}, True),
        ({"k": "1"}, {"l": "2"}, True),
        ({"k": "1"}, {}, True),
        ({"k": "1", "l": "1"}, {"l": "2"}, False),
    ],
)
def test_one_key_cannot_have_two_values(one: dict[str, str], other: dict[str, str], meet: bool) -> None:
    assert overlap(rule(query=tuple(one.items())), rule("b", query=tuple(other.items()))) is meet


def test_rules_that_share_only_a_method_that_never_matches_do_not_overlap() -> None:
    assert not overlap(rule(methods=frozenset({"TRACE", "GET"})), rule("b", methods=frozenset({"TRACE", "PUT"})))


def test_expiry_keeps_no_two_rules_apart() -> None:
    assert overlap(rule(expires=date(2020, 1, 1)), rule("b"))


_N = 10_000


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: {"hosts": (HostPattern(f"h{n}.a.com"),)}, id="each its host"),
        pytest.param(lambda n: {"hosts": (HostPattern(f"h{n}.a.com", True),)}, id="each its wildcard"),
        pytest.param(lambda n: {"paths": (PathPattern(("a", None, f"p{n}"), True),)}, id="one host, each its path"),
        pytest.param(lambda n: {"hosts": (), "networks": (ip_network((10 << 24) + n),)}, id="each its address"),
        pytest.param(
            lambda n: {"endpoints": frozenset({("https", n + 1)}), "inspect": n % 2 == 0, "credential": None},
            id="one host, tunnels and others on their ports",
        ),
    ],
)
def test_ten_thousand_rules_are_not_compared_each_with_each(make) -> None:  # type: ignore[no-untyped-def]
    hosts = (HostPattern("a.com"),)
    every = [Rule(id=f"r{n}", where="", **{"hosts": hosts, "credential": f"c{n % 3}", **make(n)}) for n in range(_N)]

    start = time.process_time()

    assert list(conflicts(every)) == []
    assert time.process_time() - start < 3  # a tenth of it on an idle machine; 10^8 comparisons take minutes
