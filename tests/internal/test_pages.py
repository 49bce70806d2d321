"""Pages: what a sandbox is told of its policy and its refusals, and in which form."""

import json
from datetime import date
from pathlib import Path

import pytest

from proxy import limits
from proxy.config.load import load_policies
from proxy.exchange import Exchange
from proxy.internal import pages
from proxy.internal.page import Page, prefers_text, problem, response_of
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy
from proxy.review.seen import seen_of
from tests.review.events import refused, tunnel

TODAY = date(2026, 11, 21)
POLICY = """
version: 1
name: one
allow:
  - {id: api, why: Ann TICKET-7, hosts: [api.example], access: any, credential: secret-name, query: {state: open}}
  - {id: inner, why: w, hosts: [git.example], addresses: [10.1.2.0/24], expires: 2026-11-20}
  - {id: bare, why: w, addresses: [192.0.2.1]}
  - {id: raw, why: w, hosts: [db.example], ports: [5432], inspect: false}
deny:
  - {id: never, why: w, hosts: [api.example], paths: [/admin/**]}
credentials:
  secret-name: {from: "file:/run/secrets/key", hosts: [api.example], inject: {bearer: true}, placeholder: API_KEY}
"""


def load(folder: Path, text: str = POLICY) -> Policy:
    (folder / "one.yaml").write_text(text)
    (policy,) = load_policies([folder / "one.yaml"])
    return policy


def test_a_rule_is_shown_with_what_a_client_can_use(tmp_path: Path) -> None:
    page = pages.policy_page(load(tmp_path), TODAY)
    rules = {rule["rule"]: rule for rule in page["rules"]}  # type: ignore[attr-defined]
    assert set(rules) == {"api", "inner", "bare", "raw"}
    assert rules["api"] == {
        "rule": "api",
        "hosts": ["api.example"],
        "addresses": [],
        "schemes_and_ports": ["https:443"],
        "methods": "any",
        "paths": "any",
        "query": {"state": "open"},
        "expires": None,
        "expired": False,
        "credential_is_added": True,
        "placeholder": "API_KEY",
    }
    assert (rules["inner"]["expires"], rules["inner"]["expired"]) == ("2026-11-20", True)
    assert (rules["inner"]["addresses"], rules["bare"]["addresses"]) == ([], ["192.0.2.1/32"])
    assert rules["raw"]["tunnel"] is True


def test_the_operators_own_words_and_places_are_not_shown(tmp_path: Path) -> None:
    said = json.dumps(pages.policy_page(load(tmp_path), TODAY))
    for kept in (
        "Ann",
        "TICKET",
        "secret-name",
        "/run/secrets",
        "never",
        "/admin",
        "10.1.2",
        str(tmp_path),
        "one.yaml",
    ):
        assert kept not in said


def test_a_large_policy_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PAGE", 600)
    page = pages.policy_page(load(tmp_path), TODAY)
    assert (len(page["rules"]), page["rules_not_shown"]) == (2, 2)  # type: ignore[arg-type]


def test_refusals_are_joined_and_keep_what_only_the_operator_may_know() -> None:
    lines = [
        refused("host_not_allowed", "GET", "https://evil.example/x?key=secret", at=30),
        refused(
            "address_is_private",
            "GET",
            "https://inside.example/",
            detail="inside.example has the address 10.9.8.7",
            at=20,
        ),
        refused("host_not_allowed", "GET", "https://evil.example/x?other=secret", at=10),
        tunnel("db.example:22", verdict="deny", reason="port_not_allowed", rule=None, nearest="raw"),
    ]
    page = pages.refusals_page(map(seen_of, lines), Policy(name="one", source="/srv/policies/one.yaml"), whole=True)
    first, private, connect = page["refusals"]  # type: ignore[misc]
    assert (first["host"], first["path"], first["times"], first["audit_id"]) == (
        "evil.example",
        "/x",
        2,
        lines[0]["id"],
    )
    assert first["hint"].endswith("add a rule for evil.example to policies/one.yaml")
    assert (connect["method"], connect["port"], connect["path"], connect["rule"]) == ("CONNECT", 22, None, "raw")
    assert "10.9.8.7" not in json.dumps(page)
    assert "secret" not in json.dumps(page)
    assert private["reason"] == "address_is_private"


def test_no_more_refusals_are_shown_than_the_limit() -> None:
    lines = [refused("host_not_allowed", "GET", f"https://h{number}.example/") for number in range(50)]
    page = pages.refusals_page(map(seen_of, lines), Policy(name="one"), whole=False)
    assert (len(page["refusals"]), page["more"]) == (limits.REFUSALS_SHOWN, 30)  # type: ignore[arg-type]
    assert "may be more" in str(page["note"])


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/plain", True),
        ("text/*", True),
        ("TEXT/PLAIN; charset=utf-8", True),
        ("text/plain, */*;q=0.1", True),
        ("text/plain;q=0.5, application/json", False),
        ("text/plain, application/json", False),
        ("text/plain;q=0", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        (";;;,,, /", False),
    ],
)
def test_text_is_for_who_prefers_it(accept: str, text: bool) -> None:
    assert prefers_text([accept.encode()] if accept else []) is text


def test_text_is_visible_ascii_in_lines() -> None:
    page = Page(
        content={"a": [{"b": True, "c": []}, {"b": None, "c": ["x", "y"]}], "d": {"e": "\x1b[2J\r\nf: é"}, "g": {}}
    )
    response = response_of(page, text=True, head=False)
    assert response.body.decode("ascii").splitlines() == [
        "a:",
        "  - b: yes",
        "    c: none",
        "  - b: none",
        "    c: x, y",
        "d:",
        "  e: ?[2J??f: ?",
        "g: none",
    ]
    assert response_of(page, text=True, head=True).body == b""


def test_a_problem_has_the_members_of_a_refusal_and_nothing_of_the_request() -> None:
    exchange = Exchange(sandbox="a", policy=Policy(name="one"), method="GET", path="/a-fake-key")
    late = problem(exchange, 429, "too often", "wait")
    content = problem(exchange, 404, "there is no such page", "see /").content
    assert (content["reason"], content["status"], content["audit_id"]) == ("malformed_request", 404, exchange.id)
    assert late.content["reason"] == str(Reason.LIMIT_EXCEEDED)
    assert "a-fake-key" not in json.dumps(content)


def test_the_home_page_says_the_next_step(tmp_path: Path) -> None:
    policy = load(tmp_path)
    home = pages.home(Exchange(sandbox="task-1", policy=policy))
    assert (home["sandbox"], home["policy"], home["mode"]) == ("task-1", "one", "enforce")
    assert "ask once" in str(home["next"])
