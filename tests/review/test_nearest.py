"""The nearest rule and what differed: exactly what the decision saw, in words."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.load import load_policy
from proxy.policy.decide import decide
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.asked import judge, parse_asked
from proxy.review.nearest import Nearest, differences, nearest
from tests.policy.test_decide import requests, rules

TODAY = date(2026, 11, 20)
POLICY = """\
version: 1
name: near
allow:
  - {id: a-read, why: w, hosts: [api.example.com], paths: [/repos/acme/app/issues, /docs/**]}
  - {id: b-comment, why: w, hosts: [api.example.com], methods: [POST], paths: [/repos/acme/app/issues/42/comments]}
  - {id: c-list, why: w, hosts: [api.example.com], methods: [PUT], paths: [/list], query: {state: open, page: "1"}}
  - {id: below, why: w, hosts: ["*.docs.example.org"]}
  - {id: dots, why: w, hosts: [dots.example.net], paths: [/docs/**]}
  - {id: over, why: w, hosts: [old.example.net], expires: 2026-11-19}
  - {id: port, why: w, hosts: [port.example.net], ports: [8443, 9443]}
  - {id: pinned, why: w, hosts: [updates.example.net], ports: [8443], inspect: false}
deny:
  - {id: never, why: w, hosts: [api.example.com], paths: [/admin/**]}
"""
TABLE = [
    ("GET https://api.example.com/repos/acme/app/issues/43/comments", "a-read", "path", "goes on behind"),
    ("POST https://api.example.com/repos/acme/app/issues/43/comments", "b-comment", "path", "segment 5 is `43`"),
    ("POST https://api.example.com/repos/acme/App/issues/42/comments", "b-comment", "path", "case counts"),
    ("POST https://api.example.com/repos/acme/app/issues/42/comments/", "b-comment", "path", "ends in a slash"),
    ("POST https://api.example.com/repos/acme/app/issues/42", "b-comment", "path", "the path ends before"),
    ("DELETE https://api.example.com/docs/x", "a-read", "method", "the rule takes GET, HEAD, OPTIONS"),
    ("GET http://api.example.com/docs/x", "a-read", "scheme", "the scheme is http, the rule takes https"),
    ("PUT https://api.example.com/list?page=1", "c-list", "query", "the query key `state` is missing"),
    (
        "PUT https://api.example.com/list?page=1&state=shut",
        "c-list",
        "query",
        "`state` is `shut`, the rule wants `open`",
    ),
    ("PUT https://api.example.com/list?page=1&state=open&state=open", "c-list", "query", "occurs more than once"),
    ("GET https://dots.example.net/docs/a/../b", "dots", "path", "differently: dot segment"),
    ("GET https://docs.example.org/", "below", "host", "means the names below docs.example.org"),
    ("GET https://x.api.example.com/docs", "a-read", "host", "does not include those below"),
    ("GET https://old.example.net/", "over", "expires", "held until 2026-11-19, and the day is 2026-11-20"),
    ("GET https://port.example.net/", "port", "port", "the port is 443, the rule takes 8443, 9443"),
    ("GET https://updates.example.net:9443/", "pinned", "port", "the rule takes 8443"),
    ("CONNECT port.example.net:8443", "port", "inspect", "the rule inspects"),
    ("CONNECT updates.example.net:443", "pinned", "port", "the rule takes 8443"),
]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "near.yaml").write_text(POLICY)
    return load_policy(tmp_path / "near.yaml")


def near(policy: Policy, line: str) -> Nearest | None:
    method, _, target = line.partition(" ")
    asked = parse_asked(method, target)
    return nearest(policy, asked, judge(policy, asked, TODAY), TODAY)


@pytest.mark.parametrize(("line", "rule", "what", "words"), TABLE)
def test_the_nearest_rule_and_what_differed(policy: Policy, line: str, rule: str, what: str, words: str) -> None:
    found = near(policy, line)
    assert found is not None
    assert (found.rule.id, found.differences[0].what) == (rule, what)
    assert words in found.differences[0].words


@pytest.mark.parametrize(
    "line",
    [
        "GET https://other.test/",
        "GET https://192.0.2.1/",
        "POST https://api.example.com/admin/x",  # a deny rule decided
        "TRACE https://api.example.com/docs/x",
        "GET https://api.example.com/docs/x?_method=%22a",
    ],
)
def test_where_no_rule_is_like_it_none_is_named(policy: Policy, line: str) -> None:
    assert near(policy, line) is None


def test_a_shared_public_suffix_is_no_likeness(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "version: 1\nname: x\nallow:\n  - {id: a, why: w, hosts: [shop.co.uk, mine.github.io]}\n"
    )
    policy = load_policy(tmp_path / "x.yaml")
    assert near(policy, "GET https://other.co.uk/") is None
    assert near(policy, "GET https://theirs.github.io/") is None
    assert near(policy, "GET https://www.shop.co.uk/") is not None


_REASON = {
    "host": {Reason.HOST_NOT_ALLOWED},
    "scheme": {Reason.SCHEME_NOT_ALLOWED},
    "port": {Reason.PORT_NOT_ALLOWED},
    "method": {Reason.METHOD_NOT_ALLOWED},
    "path": {Reason.PATH_NOT_ALLOWED, Reason.AMBIGUOUS_PATH},
    "query": {Reason.QUERY_NOT_ALLOWED},
    "expires": {Reason.RULE_EXPIRED},
}


@given(rules, requests)
def test_the_first_difference_is_the_reason_of_the_decision(rule: Rule, request: Request) -> None:
    """A rule alone allows exactly what differs in nothing from it."""
    found = differences(rule, request, TODAY)
    decision = decide(Policy(allow=RuleIndex.of([rule])), request, TODAY)
    assert decision.allowed is (found == ())
    assert decision.allowed or decision.reason in _REASON[found[0].what]


@given(st.lists(rules, min_size=1, max_size=6, unique_by=lambda rule: rule.id), requests)
def test_the_nearest_rule_is_as_near_as_the_one_that_the_decision_names(allow: list[Rule], request: Request) -> None:
    policy = Policy(allow=RuleIndex.of(allow), rules=tuple(allow), ports=frozenset({443, 8443, 80}))
    verdict = judge(policy, request, TODAY)
    found = nearest(policy, request, verdict, TODAY) if not verdict.allowed else None
    if verdict.decision.nearest is not None:
        assert found is not None
        # Of a CONNECT the port alone is known: that a rule takes http shows only here.
        what = (
            "port" if found.differences[0].what == "scheme" and request.scheme == "https" else found.differences[0].what
        )
        assert verdict.decision.reason in {*_REASON[found.differences[0].what], *_REASON[what]}
