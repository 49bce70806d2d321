"""Expectations: what passes, what fails and how it is said, and which rules are touched."""

from datetime import date
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from proxy.policy.rules import Policy
from proxy.review.expectations import Outcome, own_rules, run, uncovered
from proxy.review.suite import read_suite

TODAY = date(2026, 11, 20)
POLICY = """\
version: 1
name: p
extends: [base]
allow:
  - {id: model, why: w, hosts: [a.example.com], methods: [POST], paths: [/v1/**], credential: key}
  - {id: again, why: w, hosts: [a.example.com], methods: [POST], paths: [/v1/messages]}
  - {id: over, why: w, hosts: [old.example.com], expires: 2026-11-19}
  - {id: bound, why: w, hosts: [a.example.com, b.example.com], paths: [/b], credential: key}
  - {id: pinned, why: w, hosts: [pinned.example.com], inspect: false}
  - {id: shut, why: w, hosts: [shut.example.com], inspect: false}
deny:
  - {id: never, why: w, hosts: [a.example.com], paths: [/v1/files/**]}
  - {id: never-too, why: w, hosts: [a.example.com], paths: [/v1/files]}
  - {id: no-shut, why: w, hosts: [shut.example.com]}
credentials:
  key: {from: "env:KEY", hosts: [a.example.com], inject: {bearer: true}}
"""
BASE = "version: 1\nname: base\ndeny:\n  - {id: base-no, why: w, hosts: [no.example.com]}\n"


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "p.yaml").write_text(POLICY)
    return load_policy(tmp_path / "p.yaml")


def outcome(policy: Policy, line: str, *keys: str, head: str = "") -> Outcome:
    case = "".join(f"\n    {key}" for key in keys)
    text = f"policy: p\n{head}cases:\n  - request: {line}{case}\n"
    (found,) = run(read_suite(text.encode(), "s.yaml"), policy, TODAY)
    return found


PASS = [
    ("POST https://a.example.com/v1/messages?x=y", ["expect: allow"]),
    ("POST https://a.example.com/v1/messages", ["expect: allow", "reason: allowed", "rule: model", "credential: key"]),
    ("PUT https://a.example.com/v1/messages", ["expect: deny", "reason: method_not_allowed"]),
    ("GET https://b.example.com/b", ["expect: allow", "rule: bound", "credential: false"]),
    ("GET https://a.example.com/b", ["expect: allow", "rule: bound", "credential: key"]),
    ("POST https://a.example.com/v1/files", ["expect: deny", "rule: never"]),
    ("GET https://old.example.com/", ["expect: deny", "reason: rule_expired", "rule: over"]),
    ("CONNECT pinned.example.com:443", ["expect: allow", "rule: pinned", "credential: false"]),
    ("GET https://pinned.example.com/x", ["expect: allow", "rule: pinned"]),
    ("CONNECT pinned.example.com:8443", ["expect: deny", "reason: port_not_allowed"]),
    ("CONNECT a.example.com:443", ["expect: deny", "reason: protocol_not_allowed"]),
    ("CONNECT new.example.com:443", ["expect: deny", "reason: host_not_allowed"]),
    ("CONNECT 192.0.2.1:443", ["expect: deny", "reason: address_not_allowed"]),
    ("CONNECT shut.example.com:443", ["expect: deny", "rule: no-shut"]),
]


@pytest.mark.parametrize(("line", "keys"), PASS)
def test_an_expectation_that_holds_passes(policy: Policy, line: str, keys: list[str]) -> None:
    found = outcome(policy, line, *keys)
    assert found.passed, found
    assert found.where == "s.yaml:3:14"


FAIL = [
    (["expect: deny"], "4:13", "deny", "allow, rule model (p.yaml:5)"),
    (["expect: allow", "reason: rule_expired"], "5:13", "allow, rule_expired", "allow, allowed, rule model (p.yaml:5)"),
    (["expect: allow", "rule: again"], "5:11", "allow, rule again", "allow, rule model (p.yaml:5)"),
    (["expect: allow", "rule: modl"], "5:11", "allow, rule modl", "and the policy has no rule modl"),
    (["expect: allow", "credential: false"], "5:17", "allow, credential none", "rule model (p.yaml:5), credential key"),
    (["expect: allow", "credential: other"], "5:17", "allow, credential other", "credential key"),
]


@pytest.mark.parametrize(("keys", "place", "expected", "found"), FAIL)
def test_a_failure_stands_at_what_differs_and_says_what_was_found(
    policy: Policy, keys: list[str], place: str, expected: str, found: str
) -> None:
    failed = outcome(policy, "POST https://a.example.com/v1/messages", *keys)
    assert not failed.passed
    assert (failed.where, failed.expected) == (f"s.yaml:{place}", expected)
    assert found in failed.found.replace(policy.source, "p.yaml")


def test_an_unexpected_denial_names_reason_and_nearest_rule(policy: Policy) -> None:
    failed = outcome(policy, "PUT https://a.example.com/v1/messages", "expect: allow", "why: the agent needs it")
    assert failed.found.replace(policy.source, "p.yaml").startswith("deny, method_not_allowed, nearest rule ")
    assert failed.why == "the agent needs it"


def test_the_suite_s_own_day_is_the_one_that_counts(policy: Policy) -> None:
    line = "GET https://old.example.com/"
    assert outcome(policy, line, "expect: allow", head="today: 2026-11-19\n").passed
    assert not outcome(policy, line, "expect: allow", head="today: 2026-11-20\n").passed
    assert not outcome(policy, line, "expect: allow").passed


def test_what_mode_observe_lets_pass_is_an_allow_with_the_reason_of_the_denial(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nname: p\nmode: observe\n")
    policy = load_policy(tmp_path / "p.yaml")
    assert outcome(policy, "GET https://x.example/", "expect: allow", "reason: host_not_allowed").passed
    failed = outcome(policy, "GET https://x.example/", "expect: deny")
    assert failed.found == "allow, host_not_allowed (let pass by mode: observe)"
    assert failed.touched == ()


@pytest.mark.parametrize(
    ("line", "touched"),
    [
        ("POST https://a.example.com/v1/messages", {"model", "again"}),  # each would allow it alone
        ("POST https://a.example.com/v1/x", {"model"}),
        ("POST https://a.example.com/v1/files", {"never", "never-too"}),  # and no allow rule: it did not count
        ("GET https://a.example.com/v1/messages", set()),
        ("GET https://old.example.com/", {"over"}),
        ("CONNECT pinned.example.com:443", {"pinned"}),
        ("GET https://pinned.example.com/", {"pinned"}),
        ("GET https://shut.example.com/", {"no-shut"}),
        ("GET https://no.example.com/", {"base-no"}),
    ],
)
def test_a_rule_is_touched_where_it_makes_the_verdict(policy: Policy, line: str, touched: set[str]) -> None:
    assert {rule.id for rule in outcome(policy, line, "expect: allow").touched} == touched


def test_only_the_rules_of_the_policy_s_own_file_are_to_be_covered(policy: Policy) -> None:
    outcomes = [outcome(policy, "POST https://a.example.com/v1/messages", "expect: allow")]
    assert {each.rule for each in own_rules([policy])} == {rule.id for rule in policy.rules} - {"base-no"}
    gaps = uncovered([policy], outcomes)
    assert [(gap.rule, gap.section, gap.where.rpartition(":")[2]) for gap in gaps] == [
        ("over", "allow", "7"),
        ("bound", "allow", "8"),
        ("pinned", "allow", "9"),
        ("shut", "allow", "10"),
        ("never", "deny", "12"),
        ("never-too", "deny", "13"),
        ("no-shut", "deny", "14"),
    ]
