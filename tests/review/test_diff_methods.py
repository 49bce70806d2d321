"""Requests whose query names a method: the difference compares single methods, and says enough of these too."""

from dataclasses import replace
from ipaddress import ip_network
from itertools import product

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxy.policy.address import Network
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.path import parse_pattern
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule
from proxy.review.changes import compare
from proxy.review.marks import Mark
from tests.review.diff_oracle import seen
from tests.review.diff_universe import NETWORKS, TODAY, policy_of

A = (HostPattern("a.com"),)
METHODS = ["GET", "POST", "PUT", "DELETE"]
NAMED = ["_method=POST", "_method=put", "$httpMethod=GET", "_method=POST&X-HTTP-Method=PUT", "_method=DELETE", "k=1"]
NAMED += ["_method=PATCH", "k=1&_method=POST", "_method=POST;_method=PUT", "method=POST"]
NAMED += ["method=delete", "_method=D%20ELETE", "http_method=%22PUT%22"]
UNIVERSE = [
    Request(scheme, parse_host("a.com"), port, method, f"{path}?{query}")
    for (scheme, port), method, path, query in product([("https", 443), ("http", 80)], METHODS, ["/a", "/b"], NAMED)
]


@st.composite
def rules(draw: st.DrawFn, rule_id: str, *, deny: bool = False) -> Rule:
    paths = draw(st.sampled_from([None, None, "/a"]))
    credential = None if deny else draw(st.sampled_from([None, None, "c", "d"]))
    endpoints = [frozenset({("https", 443)}), frozenset({("https", 443), ("http", 80)})]
    return Rule(
        id=rule_id,
        where="",
        hosts=A,
        networks=() if deny else tuple(draw(st.lists(st.sampled_from(NETWORKS[:2]), max_size=2))),
        endpoints=endpoints[0] if credential else draw(st.sampled_from(endpoints)),  # as `check` wants it
        methods=draw(st.none() | st.frozensets(st.sampled_from(METHODS), min_size=1, max_size=2)),
        paths=None if paths is None else (parse_pattern(paths),),
        query=draw(st.sampled_from([(), (), (("k", "1"),), (("_method", "POST"),)])),
        credential=credential,
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    allow = [draw(rules(f"a{n}")) for n in range(draw(st.integers(1, 3)))]
    deny = [draw(rules("d", deny=True)) for _ in range(draw(st.integers(0, 1)))]
    return policy_of(allow, deny)


def nothing_is_opened_untold(old: Policy, new: Policy) -> None:
    changes = compare(old, new, TODAY)
    if not any(change.widening for change in changes):
        for request in UNIVERSE:
            before, after = seen(old, request, TODAY), seen(new, request, TODAY)
            assert not after.passes or (before.passes and after.reach <= before.reach), (request, changes)


@settings(phases=[Phase.generate], derandomize=True, max_examples=30, deadline=None)
@given(policies(), policies())
def test_where_nothing_is_newly_allowed_no_query_makes_it_so(old: Policy, new: Policy) -> None:
    nothing_is_opened_untold(old, new)


@pytest.mark.slow
@settings(phases=[Phase.generate], max_examples=1500, deadline=None)
@given(policies(), policies())
def test_where_nothing_is_newly_allowed_no_query_makes_it_so_in_many_pairs(old: Policy, new: Policy) -> None:
    nothing_is_opened_untold(old, new)


NARROW, WIDE = (ip_network(text) for text in ("10.0.1.0/24", "10.0.0.0/16"))


@pytest.mark.parametrize("networks", [(NARROW,), (WIDE,), (NARROW, WIDE), (WIDE, NARROW), (WIDE, WIDE), ()])
def test_an_address_taken_from_one_of_two_methods_opens_nothing(networks: tuple[Network, ...]) -> None:
    get, post = (Rule(id=each, where="", hosts=A, methods=frozenset({each}), networks=()) for each in ("GET", "POST"))
    old = policy_of([replace(get, networks=(WIDE, NARROW)), replace(post, networks=networks)], [])
    new = policy_of([replace(get, networks=networks), replace(post, networks=networks)], [])
    nothing_is_opened_untold(old, new)
    reach = {
        str(each)
        for each in seen(old, Request("https", parse_host("a.com"), 443, "GET", "/?_method=POST"), TODAY).reach
    }
    assert ("10.0.0.1" in reach, "10.0.1.1" in reach) == (WIDE in networks, bool(networks))


@pytest.mark.parametrize("name", ["c", "d"])
def test_a_secret_taken_from_one_of_two_methods_is_widening(name: str) -> None:
    get, post = (Rule(id=each, where="", hosts=A, methods=frozenset({each})) for each in ("GET", "POST"))
    old, new = policy_of([replace(get, credential=name), post], []), policy_of([get, post], [])
    (change,) = compare(old, new, TODAY)
    assert (change.widening, change.marks) == (True, (Mark.OWN_KEYS,))
