"""The smallest change: it allows the request, as a rule and as text; or no rule can, and it says so."""

from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import load_policy
from proxy.policy.decide import decide
from proxy.policy.path import AmbiguousPath, PathPattern, read_path
from proxy.policy.request import Request
from proxy.policy.rules import Policy
from proxy.review.asked import Asked, judge, parse_asked
from proxy.review.change import Change, NoChange, smallest_change
from proxy.review.nearest import nearest
from proxy.review.sections import rules_in, with_rule
from proxy.review.snippet import path_text
from tests.policy.test_decide import VECTORS

TODAY = date(2026, 11, 20)
# A path whose only doubt is %2F can be allowed, by a rule that keeps it.
KEPT = "GET https://p.example/docs/a%2fb"


def load(folder: Path, text: str) -> Policy:
    (folder / "p.yaml").write_text(f"version: 1\nname: p\n{text}")
    return load_policy(folder / "p.yaml")


def asked_of(line: str) -> Asked:
    method, _, target = line.partition(" ")
    return parse_asked(method, target)


def change_of(policy: Policy, asked: Asked) -> Change | NoChange:
    verdict = judge(policy, asked, TODAY)
    return smallest_change(policy, asked, verdict, nearest(policy, asked, verdict, TODAY), TODAY)


def denied() -> list[Any]:
    return [
        pytest.param(group["policy"], line, expected, id=f"{group['name']}: {line}")
        for group in VECTORS
        for line, expected in group["cases"].items()
        if not expected.startswith("allowed")
    ]


def as_written(text: str, change: Change) -> str:
    """The policy's text after a person did what the change says."""
    tree = yaml.safe_load(text) or {}
    (entry,) = yaml.safe_load(change.yaml)
    if change.new:
        tree.setdefault("allow", []).append(entry)
    else:
        (rule,) = (rule for rule in tree["allow"] if rule["id"] == entry["id"])
        rule.update(entry)
        if "methods" in entry:
            rule.pop("access", None)
    # As JSON, which is YAML, so that dates stay as they were written.
    import json

    return "\n".join(f"{key}: {json.dumps(value, default=str)}" for key, value in tree.items()) + "\n"


@pytest.mark.parametrize(("policy", "line", "expected"), denied())
def test_every_vector_that_lacks_an_allow_gets_a_change_that_allows_it(
    policy: str, line: str, expected: str, tmp_path: Path
) -> None:
    before, asked = load(tmp_path, policy), asked_of(line)
    change = change_of(before, asked)
    reason = expected.removeprefix("observed ").split()[0]
    never = line.startswith(("TRACE", "CONNECT")) or reason == "malformed_request"
    never |= reason in ("denied_by_rule", "ambiguous_path") and line != KEPT
    assert isinstance(change, NoChange) is never
    if isinstance(change, NoChange):
        assert change.because.startswith("no rule can allow it: ")
        return
    assert isinstance(asked, Request)
    after = decide(with_rule(before, change.rule), asked, TODAY)
    assert (after.allowed, after.observed) == (True, False)
    written = load(tmp_path, as_written(policy, change))
    assert decide(written, asked, TODAY) == after
    (rule,) = (rule for rule in written.rules if rule.id == change.rule.id)
    assert set(rule.paths or ()) == set(change.rule.paths or ())
    assert (rule.hosts, rule.endpoints, rule.methods) == (change.rule.hosts, change.rule.endpoints, change.rule.methods)


RULES = """\
allow:
  - {id: one, why: w, hosts: [one.example], methods: [POST], paths: [/v1/messages], credential: key}
  - {id: wide, why: w, hosts: ["*.wide.example"], paths: [/docs/**], credential: other}
  - {id: free, why: w, hosts: [free.example]}
  - {id: over, why: w, hosts: [over.example], access: any, expires: 2026-11-01}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
  - {id: open, why: w, hosts: [q.example], paths: [/issues], query: {state: open}}
deny:
  - {id: metadata, why: w, addresses: [169.254.169.254]}
credentials:
  key: {from: "env:KEY", hosts: [one.example], inject: {bearer: true}}
  other: {from: "env:OTHER", hosts: [a.wide.example], inject: {bearer: true}}
"""
TABLE = [
    ("GET https://one.example/v1/messages", "one", "methods: [GET, POST]"),
    ("POST https://one.example/v1/files", "one", "paths: [/v1/messages, /v1/files]"),
    ("POST https://one.example:8443/v1/messages", "one", "ports: [443, 8443]"),
    ("POST http://one.example/v1/messages", "one-example-post", "schemes: [http]"),
    ("GET https://one.example/v1/files", "one-example-get", "credential: key"),
    ("POST https://a.wide.example/docs/x", "a-wide-example-post", "hosts: [a.wide.example]"),
    ("POST https://b.wide.example/docs/x", "b-wide-example-post", "paths: [/docs/x]"),
    ("POST https://free.example/x", "free-example-post", "paths: [/x]"),
    ("POST https://free.example/a//b", "free-example-post", "methods: [POST]"),
    ("PUT https://over.example/x", "over", "expires: 2026-11-20"),
    ("GET https://q.example/issues?state=closed", "q-example-get", "query: {state: closed}"),
    ("GET https://q.example/issues?state=a&state=b", "q-example-get", "paths: [/issues]"),
    ("GET https://new.example/a%20b/c*d/", "new-example-get", "paths: [/a%20b/*/]"),
    ("GET https://10.0.0.1:8443/", "10-0-0-1-get", "addresses: [10.0.0.1]"),
    ("GET https://[fd00:1::1]/", "fd00-1-1-get", "addresses: ['fd00:1::1']"),
    ("CONNECT new.example:8443", "new-example-tunnel", "inspect: false"),
    ("CONNECT pinned.example:8443", "pinned", "ports: [443, 8443]"),
    ("GET https://pinned.example:8443/x", "pinned-example-get", "ports: [8443]"),
]


@pytest.mark.parametrize(("line", "rule", "text"), TABLE)
def test_what_it_changes(line: str, rule: str, text: str, tmp_path: Path) -> None:
    policy, asked = load(tmp_path, RULES), asked_of(line)
    change = change_of(policy, asked)
    assert isinstance(change, Change)
    assert change.rule.id == rule
    assert text in change.yaml
    written = load(tmp_path, as_written(RULES, change))
    assert judge(written, asked, TODAY).allowed


@pytest.mark.parametrize(
    ("line", "because"),
    [
        ("GET http://169.254.169.254/", "no rule can allow it: the deny rule metadata ("),
        ("GET https://q.example/a/../b", "no rule can allow it: two servers could read the path differently"),
        ("TRACE https://free.example/", "no rule can allow it: TRACE never passes"),
        ("GET https://free.example/?_method=%22PUT", "no rule can allow it: servers do not agree on which method"),
        ("GET https://nowhere.test/?_method=%22PUT", "no rule can allow it: servers do not agree on which method"),
        ("CONNECT free.example:443", "no rule beside the others can allow it: free speaks of the host and port"),
    ],
)
def test_where_no_rule_helps_it_says_why(line: str, because: str, tmp_path: Path) -> None:
    change = change_of(load(tmp_path, RULES), asked_of(line))
    assert isinstance(change, NoChange)
    assert change.because.startswith(because)


def test_a_cleartext_request_never_gets_a_credential(tmp_path: Path) -> None:
    change = change_of(load(tmp_path, RULES), asked_of("POST http://one.example/v1/messages"))
    assert isinstance(change, Change)
    assert change.rule.credential is None


def test_it_says_that_the_first_paths_of_a_host_make_others_ambiguous(tmp_path: Path) -> None:
    change = change_of(load(tmp_path, RULES), asked_of("POST https://free.example/x"))
    assert isinstance(change, Change)
    assert any("servers read differently" in note for note in change.notes)


UNIVERSE = [
    Request(scheme, asked.host, port, method, path)
    for host in ("one.example", "a.wide.example", "b.wide.example", "free.example", "q.example", "new.example")
    for asked in [asked_of(f"CONNECT {host}:443")]
    for scheme, port in (("https", 443), ("http", 80), ("https", 8443))
    for method, path in product(
        ("GET", "POST"), ("/", "/v1/messages", "/v1/files", "/docs/x", "/issues", "/issues?state=open")
    )
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.sampled_from(UNIVERSE))
def test_nothing_but_the_request_is_opened(tmp_path: Path, request_: Request) -> None:
    """Held against a universe of requests: only the one that was asked for passes now, with any query of its own."""
    policy = load(tmp_path, RULES)
    if judge(policy, request_, TODAY).allowed:
        return
    change = change_of(policy, request_)
    assert isinstance(change, Change)
    after = with_rule(policy, change.rule)
    opened = [each for each in UNIVERSE if judge(after, each, TODAY).allowed and not judge(policy, each, TODAY).allowed]
    assert request_ in opened
    keys = {(each.scheme, each.host, each.port, each.method, each.path) for each in opened}
    assert keys == {(request_.scheme, request_.host, request_.port, request_.method, request_.path)}


segments = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(st.lists(segments, max_size=4), st.booleans())
def test_a_path_is_written_so_that_it_is_read_back(parts: list[str], slash: bool) -> None:
    from urllib.parse import quote

    from proxy.config.texts import read_path_pattern

    raw = "/" + "/".join(quote(part, safe="") for part in parts) + ("/" if slash and parts else "")
    try:
        path = read_path(raw, keep_encoded_slash=True)
    except AmbiguousPath:
        return
    pattern = PathPattern(tuple(None if "*" in segment else segment for segment in path))
    assert read_path_pattern(path_text(pattern), keep=True, deny=False) == pattern


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=30))
def test_no_target_is_more_than_a_change_or_a_reason(tmp_path: Path, tail: str) -> None:
    policy = load(tmp_path, RULES)
    for host in ("new.example", "free.example", "q.example"):
        asked = Request("https", asked_of(f"CONNECT {host}:443").host, 443, "PUT", "/" + tail)
        change = change_of(policy, asked)
        if isinstance(change, NoChange):
            assert change.because.startswith("no rule can allow it")
        else:
            assert decide(load(tmp_path, as_written(RULES, change)), asked, TODAY).allowed


def test_a_very_long_path_gets_the_longest_prefix_that_a_rule_can_name(tmp_path: Path) -> None:
    asked = asked_of("GET https://new.example/" + "/".join(["a" * 50] * 200))
    change = change_of(load(tmp_path, RULES), asked)
    assert isinstance(change, Change)
    assert "a little wider" in " ".join(change.notes)
    assert judge(load(tmp_path, as_written(RULES, change)), asked, TODAY).allowed


def test_a_rule_more_changes_nothing_else(tmp_path: Path) -> None:
    policy = load(tmp_path, RULES)
    rule = next(rule for rule in policy.rules if rule.id == "free")
    again = with_rule(policy, rule)
    assert (rules_in(again.allow), rules_in(again.deny), again.rules) == (
        rules_in(policy.allow),
        rules_in(policy.deny),
        policy.rules,
    )


def test_it_says_what_a_rule_for_one_request_leaves_open(tmp_path: Path) -> None:
    policy = load(tmp_path, "allow:\n  - {id: q, why: w, hosts: [q.example], paths: [/i], query: {state: open}}\n")

    other, twice = (
        change_of(policy, asked_of(line))
        for line in ("GET https://new.example/", "GET https://q.example/i?state=open&state=open")
    )

    assert isinstance(other, Change)
    assert isinstance(twice, Change)
    assert [note for note in other.notes if "outgate suggest" in note]
    assert [note for note in twice.notes if "takes any `state`" in note]
    assert not [note for note in twice.notes if "outgate suggest" in note]
