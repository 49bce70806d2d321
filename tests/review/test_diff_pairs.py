"""Pairs of policies, each with one thing that is easily forgotten, held against every request that it is about."""

from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from itertools import product
from typing import Any

import pytest

from proxy.policy.host import HostPattern, parse_host
from proxy.policy.path import parse_pattern
from proxy.policy.request import Request
from proxy.policy.rules import Rule
from proxy.review.changes import compare
from proxy.review.delta import Kind
from proxy.review.marks import Mark
from tests.review.diff_universe import DAYS, ENDPOINTS, QUERIES, TARGETS, TODAY, policy_of, tells_of_every_request

NET, INNER, PUBLIC = (ip_network(text) for text in ("10.0.0.0/16", "10.0.1.0/24", "8.8.8.8/32"))


def rule(rule_id: str, *paths: str, keep: bool = False, **more: Any) -> Rule:
    patterns = tuple(parse_pattern(path, keep_encoded_slash=keep) for path in paths) or None
    about = {} if "networks" in more else {"hosts": (HostPattern("a.com"),)}
    return Rule(id=rule_id, where="", **{**about, "paths": patterns, "keep_encoded_slash": keep, **more})


GET, POST, PUT = ({"methods": frozenset({method})} for method in ("GET", "POST", "PUT"))
ANY_PORT = {"methods": None, "endpoints": None}
CLEAR = frozenset({("http", 80), ("https", 443)})
ANY, OTHER = rule("any"), rule("other", endpoints=frozenset({("https", 8443)}))

type Sides = tuple[list[Rule], list[Rule]]

# Allow and deny rules before, and after; with `observe` in the name, both in that mode.
PAIRS: dict[str, tuple[Sides, Sides]] = {
    "a rule ends today": (([rule("x", expires=TODAY)], []), ([rule("x")], [])),
    "a secret over cleartext": (([rule("x", endpoints=CLEAR)], []), ([rule("x", endpoints=CLEAR, credential="c")], [])),
    "a secret that took the place of the client's": (([rule("x", credential="d")], []), ([ANY], [])),
    "a tunnel in place of any method": (
        ([rule("x", methods=None)], []),
        ([rule("x", methods=None, inspect=False)], []),
    ),
    "a tunnel that a rule closes": (
        ([rule("x", methods=None, inspect=False)], []),
        ([rule("x", methods=None, inspect=False), ANY], []),
    ),
    "a tunnel, elsewhere": (
        ([rule("x", methods=None, inspect=False), OTHER], []),
        ([rule("x", methods=None, inspect=False)], []),
    ),
    "an address that is denied": (
        ([rule("x", networks=(NET,))], []),
        ([rule("x", networks=(NET,))], [rule("d", networks=(INNER,), **ANY_PORT)]),
    ),
    "addresses of two kinds": (([], []), ([rule("x", networks=(INNER, PUBLIC))], [])),
    "denied addresses of a name": (([ANY], [rule("d", networks=(PUBLIC,), **ANY_PORT)]), ([ANY], [])),
    "observed addresses": (([], []), ([rule("x", "/b", networks=(PUBLIC,), **GET)], [])),
    "observed paths with a slash": (([], []), ([rule("x", "/b", **GET), rule("y", "/c", **POST)], [])),
    "observed beside what was denied": (
        ([rule("x", **POST)], [rule("d", endpoints=None, **POST)]),
        ([rule("x", **POST)], []),
    ),
    "the first paths of a host": (([ANY], []), ([ANY, rule("x", "/b", **POST)], [])),
    "the first paths without slashes": (
        ([ANY, rule("x", "/b", keep=True, **POST)], []),
        ([ANY, rule("x", "/b", keep=True, **POST), rule("y", "/a", **POST)], []),
    ),
    "denied in another spelling": (([rule("x", "/a")], []), ([rule("x", "/a")], [rule("d", "/A", **ANY_PORT)])),
    "denied with a slash at the end": (([rule("x", "/a/")], []), ([rule("x", "/a/")], [rule("d", "/a", **ANY_PORT)])),
    "denied with a slash inside": (
        ([rule("x", "/*", keep=True)], []),
        ([rule("x", "/*", keep=True)], [rule("d", "/a/*", **ANY_PORT)]),
    ),
    "denied but for dots": (([rule("x", "/a/*")], [rule("d", "/*/*", **ANY_PORT)]), ([rule("x", "/a/*")], [])),
    "denied already": (
        ([ANY], [rule("d", "/a", **ANY_PORT)]),
        ([], [rule("d", "/a", **ANY_PORT), rule("e", "/**", **ANY_PORT)]),
    ),
    "denied, and a rule goes": (
        ([ANY, rule("x", "/b", **POST)], [rule("d", "/c", **ANY_PORT)]),
        ([ANY], [rule("d", "/c", **ANY_PORT)]),
    ),
    "denied keys": (([ANY], [rule("d", query=(("k", "1"),), **ANY_PORT)]), ([ANY], [])),
    "denied keys beside wanted ones": (
        ([rule("x", query=(("l", "1"),))], [rule("d", query=(("K", "1"),), **ANY_PORT)]),
        ([rule("x", query=(("l", "1"),))], []),
    ),
    "the same key, denied": (
        ([rule("x", query=(("k", "1"),))], []),
        ([rule("x", query=(("k", "1"),))], [rule("d", query=(("K", "1"),), **ANY_PORT)]),
    ),
    "the same key, denied in the same spelling": (
        ([rule("x", query=(("k", "1"),))], []),
        ([rule("x", query=(("k", "1"),))], [rule("d", query=(("k", "1"),), **ANY_PORT)]),
    ),
    "the first paths, by another method": (([rule("p", **PUT)], []), ([rule("p", **PUT), rule("x", "/b", **POST)], [])),
    "denied in one more spelling": (
        ([rule("x", "/a")], [rule("d", "/c", **ANY_PORT)]),
        ([rule("x", "/a")], [rule("d", "/c", **ANY_PORT), rule("e", "/A", **ANY_PORT)]),
    ),
    "denied in a third spelling": (
        ([rule("x", "/aB")], [rule("d", "/c", **ANY_PORT)]),
        ([rule("x", "/aB")], [rule("d", "/c", **ANY_PORT), rule("e", "/AB", **ANY_PORT)]),
    ),
    "an address that is denied by another port": (
        ([rule("x", networks=(NET,))], []),
        ([rule("x", networks=(NET,))], [rule("d", networks=(INNER,), endpoints=frozenset({("https", 8443)}))]),
    ),
    "known by an old rule for later days": (([rule("x", expires=date(2026, 1, 9))], []), ([ANY], [])),
    "known by a query": (([rule("x", query=(("k", "1"),))], []), ([ANY], [])),
    "a path that cannot be read": (([rule("x", "/b")], []), ([ANY], [])),
    "any port but one": (
        ([], [rule("d", **ANY_PORT)]),
        ([], [rule("d", methods=None, endpoints=frozenset({("https", 443)}))]),
    ),
}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_every_request_is_told(name: str, back: bool) -> None:
    old, new = (policy_of(*side, observe=name.startswith("observed")) for side in PAIRS[name])
    hosts = ["a.com", "10.0.0.1", "10.0.1.1", "8.8.8.8"]
    some = ["/", "/a", "/A", "/b", "/a/", "/a/b", "/a%2Fb", "/a/../b", "/a/...", "/c", "/aB"]
    one = (
        (host, end, method, path)
        for host, end in product(hosts, ENDPOINTS)
        for method in ("GET", "POST")
        for path in some
    )
    asked = [
        (Request(scheme, parse_host(host), port, method, path), TODAY) for host, (scheme, port), method, path in one
    ]
    asked += [(Request("https", parse_host("a.com"), 443, "GET", target), TODAY) for target in TARGETS]
    asked += [(Request("https", parse_host("a.com"), 443, "PUT", path), TODAY) for path in some]
    asked += [
        (Request("https", parse_host("a.com"), 443, "GET", "/b" + query), day) for query in QUERIES for day in DAYS
    ]

    tells_of_every_request((new, old) if back else (old, new), asked)


def _marks(old: list[Rule], new: list[Rule]) -> list[tuple[Kind, tuple[str, ...], set[Mark]]]:
    return [(each.kind, each.hosts, {*each.marks}) for each in compare(policy_of(old, []), policy_of(new, []), TODAY)]


def test_a_wildcard_is_not_marked_at_the_name_beside_it() -> None:
    both = rule("x", hosts=(HostPattern("b.com"), HostPattern("b.com", True)))
    assert _marks([], [both]) == [
        (Kind.ALLOWED, ("*.b.com",), {Mark.NEW_HOST, Mark.WILDCARD_WIDENED}),
        (Kind.ALLOWED, ("b.com",), {Mark.NEW_HOST}),
    ]


def test_a_tunnel_alone_is_widening() -> None:
    old = policy_of([rule("x", methods=None)], [])
    new = replace(policy_of([rule("x", methods=None, inspect=False)], []), credentials=old.credentials)
    (found,) = compare(old, new, TODAY)
    assert (found.kind, found.marks, found.widening) == (Kind.CHANGED, (Mark.INSPECTION_OFF,), True)


def test_what_is_left_of_a_path_that_a_deny_rule_covers_is_said() -> None:
    deny = [rule("d", "/*/*/pulls/*", **ANY_PORT)]
    old, new = (policy_of([rule("x", "/acme/app/pulls/*", **how)], deny) for how in (GET, POST))
    texts = {(each.kind, each.paths, each.but) for each in compare(old, new, TODAY)}
    assert texts == {
        (Kind.ALLOWED, ("/acme/app/pulls/* (a * is blank)",), ()),
        (Kind.REMOVED, ("/acme/app/pulls/* (a * is blank)",), ()),
    }


def test_a_network_around_one_that_was_open_is_told_as_one() -> None:
    (found,) = compare(
        policy_of([rule("x", networks=(INNER,))], []), policy_of([rule("x", networks=(NET, PUBLIC))], []), TODAY
    )[:1]
    assert found.hosts == ("10.0.0.0/16 (except 10.0.1.0/24)",)
