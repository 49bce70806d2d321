"""The refusal contract: the same facts for every client, in the form that it shows; nothing hostile gets out."""

import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Exchange
from proxy.policy.credential import CredentialSpec
from proxy.policy.decide import Decision
from proxy.policy.host import Host, HostPattern
from proxy.policy.reason import WORDING, Reason
from proxy.policy.rules import Policy
from proxy.refusal import Response, refuse

CONTRACT_KEYS = [
    "type",
    "title",
    "status",
    "reason",
    "host",
    "method",
    "path",
    "rule",
    "policy",
    "detail",
    "hint",
    "guidance",
    "help",
    "audit_id",
    "message",
]
REFUSING = [reason for reason in Reason if reason is not Reason.ALLOWED]
POLICY = Policy(name="web-app-agent", source="/srv/outgate/policies/web-app-agent.yaml")


def exchange(reason: Reason = Reason.HOST_NOT_ALLOWED, **given: Any) -> Exchange:
    """A refused `GET https://evil.example/`, with whatever else a test says."""
    decision = Decision(reason=reason, rule=given.pop("rule", None), nearest=given.pop("nearest", None))
    host = Host(given.pop("host", "evil.example"))
    base: dict[str, Any] = {"sandbox": "task-1", "policy": POLICY, "scheme": "https", "port": 443, "method": "GET"}
    return Exchange(**(base | {"host": host, "path": "/", "decision": decision} | given))


def header(response: Response, name: str) -> str | None:
    values = [value.decode("ascii") for key, value in response.headers if key == name.encode()]
    assert len(values) <= 1
    return values[0] if values else None


def body(response: Response) -> dict[str, Any]:
    value = json.loads(response.body)
    assert isinstance(value, dict)
    return value


def test_the_body_is_the_one_that_the_contract_shows() -> None:
    asked = exchange()
    assert body(refuse(asked)) == {
        "type": "urn:outgate:reason:host_not_allowed",
        "title": "this sandbox's policy does not allow the host",
        "status": 403,
        "reason": "host_not_allowed",
        "host": "evil.example",
        "method": "GET",
        "path": "/",
        "rule": None,
        "policy": "web-app-agent",
        "detail": "GET https://evil.example/ was refused by the egress policy before anything was sent",
        "hint": "if the task needs it, ask the person who runs this sandbox to add a rule for evil.example"
        " to policies/web-app-agent.yaml",
        "guidance": "this is a deliberate policy decision, not an outage;"
        " retrying, other hosts, mirrors or tools will be refused too",
        "help": "http://outgate.internal/ says what is allowed, and takes requests for access",
        "audit_id": asked.id,
        "message": "outgate: this sandbox's policy does not allow the host (host_not_allowed): if the task needs it,"
        " ask the person who runs this sandbox to add a rule for evil.example to policies/web-app-agent.yaml;"
        " http://outgate.internal/ says what is allowed, and takes requests for access",
    }


def test_the_headers_say_what_it_is_and_leave_the_connection_open() -> None:
    response = refuse(exchange())
    assert response.reason == "outgate: this sandbox's policy does not allow the host (host_not_allowed)"
    assert dict(response.headers) == {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(response.body)).encode(),
        b"cache-control": b"no-store",
        b"proxy-status": b'outgate; error=http_request_denied; details="host_not_allowed"',
    }


@pytest.mark.parametrize("reason", REFUSING)
def test_every_reason_has_its_status_its_keys_and_a_short_sentence(reason: Reason) -> None:
    response = refuse(exchange(reason))
    assert response.status == WORDING[reason].status
    assert list(body(response)) == CONTRACT_KEYS
    assert body(response)["status"] == response.status
    assert body(response)["title"] == WORDING[reason].title
    assert len(response.reason) <= 100
    assert response.reason.endswith(f"({reason})")


@pytest.mark.parametrize("reason", REFUSING)
@pytest.mark.parametrize("nearest", ["docs", None])
def test_hints_read_well_with_and_without_a_nearest_rule(reason: Reason, nearest: str | None) -> None:
    hint = body(refuse(exchange(reason, nearest=nearest)))["hint"]
    assert "None" not in hint
    assert "{" not in hint
    if nearest and "{rule}" in WORDING[reason].hint:
        assert "the rule docs" in hint


def test_a_hint_without_a_nearest_rule_speaks_of_a_rule_for_the_host() -> None:
    hint = body(refuse(exchange(Reason.METHOD_NOT_ALLOWED, method="POST")))["hint"]
    assert hint.endswith("add POST to a rule for evil.example")


def test_a_policy_without_a_file_is_called_by_its_name() -> None:
    assert body(refuse(exchange(policy=Policy(name="inline"))))["hint"].endswith("to the policy inline")


@pytest.mark.parametrize(
    ("rule", "nearest", "shown"), [("no-admin", None, "no-admin"), (None, "docs", "docs"), (None, None, None)]
)
def test_the_rule_is_the_one_that_decided_or_came_nearest(
    rule: str | None, nearest: str | None, shown: str | None
) -> None:
    assert body(refuse(exchange(Reason.DENIED_BY_RULE, rule=rule, nearest=nearest)))["rule"] == shown


def test_no_folder_of_the_host_is_shown() -> None:
    response = refuse(exchange(Reason.HOST_NOT_ALLOWED))
    assert b"/srv" not in response.body


@pytest.mark.parametrize(
    "reason",
    [Reason.CREDENTIAL_UNAVAILABLE, Reason.POLICY_ERROR, Reason.AUDIT_UNAVAILABLE, Reason.ADDRESS_IS_PRIVATE],
)
def test_what_went_wrong_on_the_operators_side_is_not_told(reason: Reason) -> None:
    response = refuse(exchange(reason, detail="cannot read /run/secrets/token: permission denied"))
    assert b"/run/secrets" not in response.body


def test_other_details_are_told() -> None:
    told = body(refuse(exchange(Reason.UPSTREAM_UNVERIFIED, detail="the certificate has expired")))
    assert told["detail"] == "GET https://evil.example/ was not carried out: the certificate has expired"
    assert "outage" in told["guidance"]


def test_a_port_of_its_own_is_in_the_detail() -> None:
    assert "GET https://evil.example:8443/x was" in body(refuse(exchange(port=8443, path="/x")))["detail"]


def test_an_allowed_exchange_is_never_refused_with_success() -> None:
    allowed = exchange()
    allowed.decision = Decision(allowed=True, reason=Reason.ALLOWED)
    assert refuse(allowed).status == 503
    assert body(refuse(allowed))["reason"] == "policy_error"


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (Reason.PATH_NOT_ALLOWED, "http_request_denied"),
        (Reason.UNAUTHENTICATED, "http_request_denied"),
        (Reason.LIMIT_EXCEEDED, "http_request_denied"),
        (Reason.MALFORMED_REQUEST, "http_request_error"),
        (Reason.UPSTREAM_UNREACHABLE, "destination_unavailable"),
        (Reason.UPSTREAM_UNVERIFIED, "tls_certificate_error"),
        (Reason.AUDIT_UNAVAILABLE, "proxy_internal_error"),
    ],
)
def test_proxy_status_names_a_registered_error(reason: Reason, error: str) -> None:
    assert header(refuse(exchange(reason)), "proxy-status") == f'outgate; error={error}; details="{reason}"'


class TestConnect:
    def test_a_refused_connect_is_plain_and_closes(self) -> None:
        response = refuse(exchange(Reason.PORT_NOT_ALLOWED, port=22), connect=True)
        assert response.status == 403
        assert header(response, "connection") == "close"
        assert body(response)["method"] == "CONNECT"
        assert body(response)["path"] is None
        assert body(response)["detail"].startswith("CONNECT evil.example:22 was refused")

    def test_the_challenge_leaves_the_connection_open_for_the_answer(self) -> None:
        response = refuse(exchange(Reason.UNAUTHENTICATED), connect=True)
        assert response.status == 407
        assert header(response, "proxy-authenticate") == 'Basic realm="outgate"'
        assert header(response, "connection") is None

    def test_who_is_not_identified_learns_no_policy(self) -> None:
        told = body(refuse(exchange(Reason.UNAUTHENTICATED, nearest="docs")))
        assert told["policy"] is None
        assert told["rule"] is None
        assert "web-app-agent" not in json.dumps(told)

    @pytest.mark.parametrize("reason", REFUSING)
    def test_a_connect_is_never_answered_with_success(self, reason: Reason) -> None:
        response = refuse(exchange(reason, grpc=True, websocket=True), connect=True)
        assert response.status == WORDING[reason].status

    def test_only_the_challenge_carries_a_challenge(self) -> None:
        assert header(refuse(exchange()), "proxy-authenticate") is None


class TestClients:
    def test_git_gets_text_that_it_prints_as_remote(self) -> None:
        asked = exchange(user_agent="git/2.39.5")
        response = refuse(asked)
        lines = response.body.decode("ascii").splitlines()
        assert header(response, "content-type") == "text/plain; charset=utf-8"
        assert lines[0] == "outgate: this sandbox's policy does not allow the host (host_not_allowed)"
        assert any(line.startswith("hint: if the task needs it") for line in lines)
        assert lines[-1] == f"audit id: {asked.id}"

    @pytest.mark.parametrize("agent", ["npm/11.19.0 node/v24.1.0", "pnpm/12.21 npm/? node/v24", "yarn/1.22.22 npm/?"])
    def test_package_managers_get_a_notice(self, agent: str) -> None:
        notice = header(refuse(exchange(user_agent=agent)), "npm-notice")
        assert notice is not None
        assert "add a rule for evil.example" in notice

    @pytest.mark.parametrize("agent", ["curl/8.7.1", "my-npm/1", "git-lfs/3.6"])
    def test_other_clients_get_no_notice(self, agent: str) -> None:
        response = refuse(exchange(user_agent=agent))
        assert header(response, "npm-notice") is None
        assert header(response, "content-type") == "application/problem+json"

    @pytest.mark.parametrize(
        ("agent", "path"),
        [
            ("docker/28.1 go/go1.24 UpstreamClient(Docker-Client/28.1)", "/token"),
            ("Docker-Client/28.1 (linux)", "/v2/"),
            ("containerd/2.0", "/v2/library/x/manifests/1"),
            ("buildkit/v0.2", "/"),
            ("skopeo/1.1", "/"),
            ("Go-http-client/2.0", "/v2/acme/app/manifests/latest"),
            ("Go-http-client/2.0", "/v2/"),
        ],
    )
    def test_image_clients_get_the_registry_shape(self, agent: str, path: str) -> None:
        response = refuse(exchange(user_agent=agent, path=path))
        assert header(response, "content-type") == "application/json"
        (error,) = body(response)["errors"]
        assert error["code"] == "DENIED"
        assert error["message"].startswith("outgate: this sandbox's policy does not allow the host")
        assert list(error["detail"]) == CONTRACT_KEYS

    def test_an_api_whose_version_is_two_is_no_registry(self) -> None:
        assert "errors" not in body(refuse(exchange(user_agent="sdk/1", path="/v2/chat")))

    def test_anthropic_clients_get_an_anthropic_error(self) -> None:
        told = body(refuse(exchange(Reason.PATH_NOT_ALLOWED, host="api.anthropic.com", nearest="anthropic")))
        assert told["type"] == "error"
        assert told["error"]["type"] == "permission_error"
        assert "(path_not_allowed): if the task needs it" in told["error"]["message"]
        assert "deliberate policy decision" in told["error"]["message"]
        assert set(told) == {*CONTRACT_KEYS, "error"}
        assert told["reason"] == "path_not_allowed"

    def test_openai_clients_get_an_openai_error(self) -> None:
        told = body(refuse(exchange(Reason.PATH_NOT_ALLOWED, host="api.openai.com")))
        assert told["type"] == "urn:outgate:reason:path_not_allowed"
        assert told["error"].pop("message").startswith("outgate: ")
        assert told["error"] == {"type": "permission_error", "param": None, "code": "path_not_allowed"}

    def test_google_clients_get_a_google_error(self) -> None:
        told = body(refuse(exchange(Reason.LIMIT_EXCEEDED, host="generativelanguage.googleapis.com")))
        assert told["error"].pop("message").startswith("outgate: ")
        assert told["error"] == {"code": 429, "status": "RESOURCE_EXHAUSTED"}

    def test_a_host_that_a_providers_credential_is_bound_to_speaks_its_language(self) -> None:
        spec = CredentialSpec("key", "env:KEY", (HostPattern("llm.example.com", False),), provider="anthropic")
        policy = Policy(name="p", credentials=MappingProxyType({"key": spec}))
        assert body(refuse(exchange(host="llm.example.com", policy=policy)))["type"] == "error"
        assert "error" not in body(refuse(exchange(host="www.example.com", policy=policy)))

    @pytest.mark.parametrize("reason", REFUSING)
    def test_a_websocket_upgrade_is_answered_426(self, reason: Reason) -> None:
        response = refuse(exchange(reason, host="api.openai.com", websocket=True))
        if reason is Reason.UNAUTHENTICATED:
            assert response.status == 407
            return
        assert response.status == body(response)["status"] == 426
        assert header(response, "upgrade") == "HTTP/1.1"
        assert header(response, "connection") == "upgrade"

    @pytest.mark.parametrize(
        ("reason", "status"),
        [
            (Reason.HOST_NOT_ALLOWED, "7"),
            (Reason.UPSTREAM_UNREACHABLE, "14"),
            (Reason.AUDIT_UNAVAILABLE, "14"),
            (Reason.LIMIT_EXCEEDED, "8"),
            (Reason.MALFORMED_REQUEST, "3"),
        ],
    )
    def test_grpc_gets_trailers_only(self, reason: Reason, status: str) -> None:
        response = refuse(exchange(reason, grpc=True, method="POST", detail="100%"))
        assert response.status == 200
        assert response.body == b""
        assert header(response, "content-type") == "application/grpc"
        assert header(response, "content-length") is None
        assert header(response, "grpc-status") == status

    def test_a_grpc_message_is_percent_encoded(self) -> None:
        policy = Policy(name="p", source="50%.yaml")
        message = header(refuse(exchange(grpc=True, policy=policy)), "grpc-message")
        assert message is not None
        assert "policies/50%25.yaml; http://outgate.internal/ " in message

    def test_head_has_no_body(self) -> None:
        response = refuse(exchange(method="HEAD"))
        assert response.status == 403
        assert response.body == b""
        assert header(response, "content-length") is None

    def test_a_limit_says_when_to_come_back(self) -> None:
        response = refuse(exchange(Reason.LIMIT_EXCEEDED))
        assert response.status == 429
        assert header(response, "retry-after") == "5"
        assert "wait" in body(response)["guidance"]


hostile = st.one_of(
    st.text(max_size=600),
    st.sampled_from(
        ["\r\nset-cookie: a=b", "\x1b[31m", '"}', "{0}", "{host.__class__}", "%", "\u202e", "\ud800", "x" * 9000, "\0"]
    ),
)
agents = st.one_of(
    hostile,
    st.builds(str.__add__, st.sampled_from(["git/", "npm/", "docker/", "curl/", "pnpm/"]), hostile),
)
hosts = st.one_of(
    hostile, st.sampled_from(["api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"])
)
VALUE = re.compile(rb"[\x20-\x7e]*")


@given(
    reason=st.sampled_from(REFUSING),
    texts=st.fixed_dictionaries(dict.fromkeys(("method", "scheme", "path", "detail", "id", "sandbox"), hostile)),
    agent=agents,
    host=hosts,
    named=st.tuples(hostile, hostile, st.none() | hostile, st.none() | hostile),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("websocket", "grpc", "tunnel")}),
    connect=st.booleans(),
)
def test_nothing_hostile_gets_through(
    *,
    reason: Reason,
    texts: dict[str, str],
    agent: str,
    host: str,
    named: tuple[str, str, str | None, str | None],
    flags: dict[str, bool],
    connect: bool,
) -> None:
    """Whatever the client, the upstream or the policy says: valid JSON, clean headers, visible ASCII, bounded."""
    policy, source, rule, nearest = named
    asked = exchange(
        reason,
        host=host,
        user_agent=agent,
        policy=Policy(name=policy, source=source),
        rule=rule,
        nearest=nearest,
        **texts,
        **flags,
    )
    response = refuse(asked, connect=connect)
    assert len(response.reason) <= 100
    assert VALUE.fullmatch(response.reason.encode("ascii"))
    for name, value in response.headers:
        assert re.fullmatch(rb"[a-z-]+", name)
        assert VALUE.fullmatch(value)
        assert len(value) < 2000
    assert len(response.body) < 16_000
    assert all(VALUE.fullmatch(line) for line in response.body.split(b"\n"))
    kind = header(response, "content-type") or ""
    if kind == "application/grpc":
        assert (response.status, response.body) == (200, b"")
        assert not connect
        return
    assert response.status == WORDING[reason].status or (response.status == 426 and asked.websocket)
    if "json" in kind and response.body:
        strings = _strings(json.loads(response.body))
        assert all(VALUE.fullmatch(text.encode()) for text in strings)
    if response.body:
        assert header(response, "content-length") == str(len(response.body))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_document_shows_a_refusal_as_it_is() -> None:
    text = (Path(__file__).parent.parent / "docs" / "refusals.md").read_text(encoding="utf-8")
    response = refuse(exchange(id="01JD5ZV0Q8M3N5K7R9T1W3Y5A7"))
    fields = [f"{name.decode()}: {value.decode()}" for name, value in response.headers]
    head = "\n".join([f"HTTP/1.1 {response.status} {response.reason}", *fields])
    assert f"{head}\n\n{response.body.decode()}" in text


def test_the_document_names_every_reason_with_its_status() -> None:
    text = (Path(__file__).parent.parent / "docs" / "refusals.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE))
    assert rows == {str(reason): str(WORDING[reason].status) for reason in REFUSING}
    for reason in REFUSING:
        assert WORDING[reason].title in text
