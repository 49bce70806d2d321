"""`outgate explain`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.review.asked import parse_request

ROOT = Path(__file__).parents[2]


def explain(outgate: Any, method: str, url: str, policy: str = "web.yaml", *more: str) -> Any:
    result = outgate("explain", method, url, "--policy", policy, "--json", *more)
    assert result.err == ""
    answer = json.loads(result.out)
    assert result.code == (0 if answer["verdict"] == "allow" else 1)
    return answer


@pytest.mark.parametrize(
    ("method", "url", "reason", "rule", "nearest"),
    [
        ("POST", "https://api.anthropic.com/v1/messages", "allowed", "model", None),
        ("POST", "HTTPS://API.Anthropic.com.:443/v1/messages?beta=true", "allowed", "model", None),
        ("GET", "https://docs.example.com", "allowed", "docs", None),
        ("GET", "https://docs.example.com?q=1", "allowed", "docs", None),
        ("GET", "https://api.anthropic.com/v1/messages", "method_not_allowed", None, "model"),
        ("POST", "https://api.anthropic.com/v1/files", "path_not_allowed", None, "model"),
        ("POST", "https://api.anthropic.com/v1/a/../messages", "ambiguous_path", None, "model"),
        ("GET", "https://docs.example.com/admin/x", "denied_by_rule", "no-admin", None),
        ("GET", "https://docs.example.com:8443/", "port_not_allowed", None, "docs"),
        ("GET", "http://docs.example.com/", "scheme_not_allowed", None, "docs"),
        ("GET", "https://evil.example/", "host_not_allowed", None, None),
        ("GET", "https://192.0.2.1/", "address_not_allowed", None, None),
        ("GET", "https://[2001:db8::1]/", "address_not_allowed", None, None),
        ("TRACE", "https://docs.example.com/", "method_not_allowed", None, None),
        ("DELETE", "https://updates.example.com/any", "allowed", "updates", None),
    ],
)
def test_it_gives_the_decision_and_the_rule(
    outgate: Any, method: str, url: str, reason: str, rule: str | None, nearest: str | None
) -> None:
    answer = explain(outgate, method, url)
    assert answer["reason"] == reason
    assert (answer["rule"] or {}).get("id") == rule
    assert (answer["nearest"] or {}).get("id") == nearest
    assert bool(answer["hint"]) is (answer["verdict"] == "deny")


def test_an_allowed_request_shows_rule_reason_and_credential(outgate: Any) -> None:
    answer = explain(outgate, "POST", "https://api.anthropic.com/v1/messages?a=1&b=2")
    assert answer["rule"] == {"id": "model", "where": "web.yaml:4", "why": "the model this agent runs on"}
    assert answer["credential"]["name"] == "anthropic"
    assert answer["credential"]["from"] == "env:ANTHROPIC_API_KEY"
    assert answer["credential"]["injected"] is True
    assert answer["policy"]["name"] == "web"
    assert answer["query_keys"] == ["a", "b"]
    assert answer["addresses"] == ["public"]


def test_a_tunnel_is_called_one(outgate: Any) -> None:
    assert explain(outgate, "GET", "https://updates.example.com/")["tunnel"] is True
    assert explain(outgate, "GET", "https://docs.example.com/")["tunnel"] is False


def test_it_says_where_trace_headers_go_upstream(outgate: Any, folder: Path) -> None:
    assert explain(outgate, "GET", "https://docs.example.com/")["trace_context"] is False
    text = "version: 1\nname: own\nallow:\n  - {id: own, why: ours, hosts: [own.example], trace_context: keep}\n"
    (folder / "own.yaml").write_text(text)
    assert explain(outgate, "GET", "https://own.example/", "own.yaml")["trace_context"] is True
    plain = outgate("explain", "GET", "https://own.example/", "--policy", "own.yaml").out
    assert "trace      the client's trace headers go upstream\n" in plain


def test_the_hint_is_that_of_the_refusal(outgate: Any) -> None:
    answer = explain(outgate, "GET", "https://evil.example/")
    assert answer["hint"].endswith("add a rule for evil.example to policies/web.yaml")


def test_an_observed_request_is_allowed_and_says_why_it_would_not_be(outgate: Any, folder: Path) -> None:
    (folder / "seen.yaml").write_text("version: 1\nname: seen\nmode: observe\nallow: []\n")
    answer = explain(outgate, "GET", "https://evil.example/", "seen.yaml")
    assert (answer["verdict"], answer["reason"], answer["observed"]) == ("allow", "host_not_allowed", True)
    plain = outgate("explain", "GET", "https://evil.example/", "--policy", "seen.yaml").out
    assert plain.startswith("allowed  GET https://evil.example/\n")
    assert "the policy's mode is observe" in plain


def test_it_can_be_read(outgate: Any) -> None:
    allowed = outgate("explain", "POST", "https://api.anthropic.com/v1/messages", "--policy", "web.yaml")
    assert allowed.out.splitlines() == [
        "allowed  POST https://api.anthropic.com/v1/messages",
        "",
        "rule        model (web.yaml:4)",
        "why         the model this agent runs on",
        "credential  anthropic from env:ANTHROPIC_API_KEY; header x-api-key: {secret}",
        "note        a client that uses another form of the service gets the secret in that form",
        "addresses   public",
        "policy      web (web.yaml)",
    ]
    refused = outgate("explain", "GET", "https://api.anthropic.com/v1/messages", "--policy", "web.yaml")
    assert refused.code == 1
    assert refused.out.splitlines()[2:] == [
        "reason        method_not_allowed: this sandbox's policy does not allow the method",
        "nearest rule  model (web.yaml:4)",
        "differs       the method is GET, the rule takes POST",
        "policy        web (web.yaml)",
        "hint          if the task needs it, ask the person who runs this sandbox to add GET to the rule model",
        "",
        "the smallest change that would allow it; in the rule at web.yaml:4:",
        "",
        "  - id: model",
        "    methods: [GET, POST]",
        "",
        "opens  GET https://api.anthropic.com/v1/messages, with any query",
        "note   `methods` takes the place of `access`, if the rule has that",
    ]


@pytest.mark.parametrize(
    ("inject", "form"),
    [
        ("{bearer: true}", "header Authorization: Bearer {secret}"),
        ("{header: X-Key}", "header X-Key: {secret}"),
        ('{header: Authorization, format: "token {secret}"}', "header Authorization: token {secret}"),
        ("{basic: {username: x-access-token}}", "header Authorization: Basic, user name x-access-token"),
        ("{query: key}", "query key key"),
    ],
)
def test_it_says_where_the_credential_goes(outgate: Any, folder: Path, inject: str, form: str) -> None:
    (folder / "x.yaml").write_text(
        "version: 1\nname: x\nallow:\n  - {id: a, why: b, hosts: [a.example.com], credential: c}\n"
        f"credentials:\n  c: {{from: 'env:KEY', hosts: [a.example.com], inject: {inject}}}\n"
    )
    assert explain(outgate, "GET", "https://a.example.com/", "x.yaml")["credential"]["form"] == form


def test_of_several_policies_one_must_be_named(outgate: Any) -> None:
    result = outgate("explain", "GET", "https://a.example/", "--policy", "both")
    assert result.code == 2
    assert result.err == "error: there are several policies\nhint: choose one with --name: other, web\n"
    assert explain(outgate, "GET", "https://a.example/", "both", "--name", "other")["policy"]["name"] == "other"
    wrong = outgate("explain", "GET", "https://a.example/", "--policy", "both", "--name", "nix")
    assert wrong.err.startswith("error: there is no policy 'nix'\n")


def test_the_policy_can_come_from_the_settings(outgate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = outgate("explain", "GET", "https://docs.example.com/")
    assert (missing.code, missing.err.splitlines()[0]) == (2, "error: no policy was given")
    monkeypatch.setenv("OUTGATE_POLICY", "web.yaml")
    assert outgate("explain", "GET", "https://docs.example.com/").code == 0


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        ("get", "https://a.example/", "not a method"),
        ("", "https://a.example/", "not a method"),
        ("GET", "a.example", "not a URL"),
        ("GET", "//a.example/", "not a URL"),
        ("GET", "https:/a.example/", "not a URL"),
        ("GET", "ftp://a.example/", "not a scheme of the proxy: ftp"),
        ("GET", "wss:a.example/", "not a URL"),
        ("CONNECT", "a.example", "the port is missing"),
        ("CONNECT", "a.example:443/x", "not host:port"),
        ("GET", "https:///path", "not host:port"),
        ("GET", "https://user@a.example/", "not host:port"),
        ("GET", "https://a.example:0/", "not a port"),
        ("GET", "https://a.example:/", "not host:port"),
        ("GET", "https://a.example:99999/", "not a port"),
        ("GET", "https://bücher.example/", "not a host name"),
        ("GET", "https://127.1/", "not a host name or IP address"),
        ("GET", "https://0x7f.1/", "not a host name or IP address"),
        ("GET", "https://a.example/#x", "fragment"),
        ("GET", "https://a.example/ü", "not an absolute path of visible ASCII"),
        ("GET", "https://a.example/a b", "not an absolute path of visible ASCII"),
        ("GET", "https://a.example/\n", "not an absolute path of visible ASCII"),
        ("GET", "https://a.example\\@b.example/", "not host:port"),
    ],
)
def test_what_is_no_request_is_misuse(outgate: Any, method: str, url: str, message: str) -> None:
    result = outgate("explain", method, url, "--policy", "web.yaml")
    assert (result.code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert message in first
    assert second.startswith("hint: ")


@given(st.text(max_size=8), st.text() | st.text().map("https://a.example/".__add__) | st.text().map("https://".__add__))
def test_no_method_and_url_do_more_than_parse_or_raise_the_one_error(method: str, url: str) -> None:
    for each in ("GET", method):
        try:
            request = parse_request(each, url)
        except ConfigError:
            continue
        assert request.target.isascii()


def test_a_broken_policy_is_an_error(outgate: Any, folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 1\nnam: x\n")
    result = outgate("explain", "GET", "https://a.example/", "--policy", "bad.yaml")
    assert (result.code, result.out) == (2, "")
    assert "error: bad.yaml:2:1: nam: unknown key" in result.err


def test_json_says_what_differed_and_what_would_change_it(outgate: Any) -> None:
    answer = explain(outgate, "POST", "https://api.anthropic.com/v1/files")
    assert answer["nearest"]["where"] == "web.yaml:4"
    assert answer["nearest"]["differences"] == [
        {
            "what": "path",
            "asked": "/v1/files",
            "takes": "/v1/messages",
            "words": "segment 2 is `files`, /v1/messages has `messages`",
        }
    ]
    assert answer["suggested_change"] == {
        "kind": "changed rule",
        "rule": "model",
        "where": "web.yaml:4",
        "keys": ["paths"],
        "yaml": "- id: model\n  paths: [/v1/messages, /v1/files]\n",
        "opens": "POST https://api.anthropic.com/v1/files, with any query",
        "notes": [],
    }


def test_what_no_rule_can_allow_is_said_to_be_so(outgate: Any) -> None:
    denied = explain(outgate, "GET", "https://docs.example.com/admin/x")
    assert denied["suggested_change"] is None
    assert denied["no_change"].startswith("no rule can allow it: the deny rule no-admin (web.yaml:18)")
    allowed = explain(outgate, "GET", "https://docs.example.com/")
    assert (allowed["suggested_change"], allowed["no_change"]) == (None, None)
    shown = outgate("explain", "GET", "https://docs.example.com/admin/x", "--policy", "web.yaml").out
    assert "change  no rule can allow it: the deny rule no-admin" in shown


def test_the_hint_speaks_of_the_nearest_rule_that_is_shown(outgate: Any, folder: Path) -> None:
    (folder / "two.yaml").write_text(
        "version: 1\nname: two\nallow:\n"
        "  - {id: a, why: w, hosts: [a.example.com], paths: [/x]}\n"
        "  - {id: b, why: w, hosts: [a.example.com], paths: [/repos/acme/app]}\n"
    )
    answer = explain(outgate, "GET", "https://a.example.com/repos/acme/other", "two.yaml")
    assert answer["nearest"]["id"] == "b"
    assert answer["hint"].endswith("add the path to the rule b")


@pytest.mark.parametrize(
    ("header", "reason", "detail"),
    [
        ("X-Api-Key: {ANTHROPIC_API_KEY}", "allowed", ""),
        ("X-Api-Key: outgate", "allowed", ""),
        ("X-Api-Key: sk-somebody-else", "client_credential_refused", "in x-api-key"),
        ("Host: evil.example", "authority_mismatch", "Host is not the host of the connection"),
    ],
)
def test_a_head_is_judged_with_the_request(outgate: Any, header: str, reason: str, detail: str) -> None:
    answer = explain(outgate, "POST", "https://api.anthropic.com/v1/messages", "web.yaml", "--header", header)
    assert (answer["reason"], answer["detail"]) == (reason, detail)
    if reason != "allowed":
        assert answer["no_change"] == "no rule can allow it: it is what the request carries"
        assert answer["credential"] is None


def test_the_form_follows_the_client_and_a_bad_header_is_misuse(outgate: Any) -> None:
    url = "https://api.anthropic.com/v1/messages"
    answer = explain(outgate, "POST", url, "web.yaml", "--header", "Authorization: Bearer {ANTHROPIC_API_KEY}")
    assert answer["credential"]["form"] == "header Authorization: Bearer {secret}"
    assert answer["notes"] == []
    assert len(explain(outgate, "POST", url)["notes"]) == 1, "without a head, another form may be chosen"
    for header, message in (("nothing", "not a header"), ("X-Key: {NO_SUCH}", "no placeholder of the policy is named")):
        result = outgate("explain", "POST", url, "--policy", "web.yaml", "--header", header)
        assert (result.code, result.out) == (2, "")
        assert message in result.err


def test_a_websocket_is_judged_as_the_get_that_it_is(outgate: Any) -> None:
    answer = explain(outgate, "GET", "wss://docs.example.com/live")
    assert (answer["websocket"], answer["scheme"], answer["status"]) == (True, "https", None)
    refused = explain(outgate, "GET", "WSS://evil.example/live")
    assert (refused["websocket"], refused["status"]) == (True, 426)
    assert explain(outgate, "GET", "https://docs.example.com/live")["websocket"] is False


def test_connect_asks_for_a_tunnel(outgate: Any) -> None:
    assert explain(outgate, "CONNECT", "updates.example.com:443")["rule"]["id"] == "updates"
    answer = explain(outgate, "CONNECT", "docs.example.com:443")
    assert (answer["reason"], answer["nearest"]["id"]) == ("protocol_not_allowed", "docs")
    assert answer["no_change"].startswith("no rule beside the others can allow it: docs speaks of")


def test_json_has_the_keys_that_the_document_lists(outgate: Any) -> None:
    answer = explain(outgate, "GET", "https://docs.example.com/")
    section = (ROOT / "docs" / "cli.md").read_text().partition("## outgate explain")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(answer)
