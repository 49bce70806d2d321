"""The difference, held against every request of a universe that is richer than the classes it is computed from."""

import random
import sys
from collections import defaultdict
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from proxy.policy.host import Address, Host, HostPattern
from proxy.policy.path import PathPattern, folded_segment, parse_pattern
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule
from proxy.review.changes import compare
from proxy.review.diff import Found, cutting, differences
from proxy.review.hosts import Sides
from tests.review.diff_oracle import kind_of, seen
from tests.review.diff_universe import (
    CONDITIONS,
    ENDPOINTS,
    EVERY_HTTP,
    EXPIRES,
    KEPT,
    METHODS,
    NETWORKS,
    PATHS,
    PATTERNS,
    QUERIES,
    SPELLED,
    TARGETS,
    TODAY,
    allowing,
    policy_of,
    requests,
    tells_of_every_request,
)


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
        trace_context=inspect and not deny and draw(st.booleans()),
        expires=None if deny else draw(st.none() | st.none() | st.sampled_from(EXPIRES)),
        credential=draw(st.sampled_from([None, None, "c", "d"])) if inspect and not deny else None,
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


# Always the same examples: what they hold is searched for by the slow test below.
@settings(
    phases=[Phase.generate],
    derandomize=True,
    max_examples=3,
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


@settings(phases=[Phase.generate], derandomize=True, max_examples=40, deadline=None)
@given(near_pairs(), st.integers(0, 10**9))
def test_the_words_for_paths_and_queries_are_exact(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_paths_and_queries(pair, seed)


@pytest.mark.slow
@settings(phases=NO_SHRINKING, max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(near_pairs(), st.integers(0, 10**9))
def test_the_words_for_paths_and_queries_are_exact_in_many_pairs(pair: tuple[Policy, Policy], seed: int) -> None:
    tells_of_paths_and_queries(pair, seed)


@settings(phases=NO_SHRINKING, max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(phases=NO_SHRINKING, max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
