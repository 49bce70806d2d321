"""The head that a client would send is judged as the gate judges it: held to the gate itself, header by header."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.sink import AuditSink
from proxy.config.load import load_policy
from proxy.credentials.placeholder import placeholder
from proxy.errors import ConfigError
from proxy.exchange import Exchange
from proxy.gate import Gate
from proxy.head import Head
from proxy.identity import ANONYMOUS
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy
from proxy.review.asked import judge, parse_request
from proxy.review.client import Judged, judge_head, parse_header
from proxy.serving import Serving
from proxy.session import Session

POLICY = """\
version: 1
name: head
allow:
  - {id: model, why: w, hosts: [api.anthropic.com], methods: [POST], credential: anthropic}
  - {id: github, why: w, hosts: [api.github.com, other.example.com], credential: github}
  - {id: docs, why: w, hosts: [docs.example.com]}
  - {id: pinned, why: w, hosts: [pinned.example.com], inspect: false}
credentials:
  anthropic: {provider: anthropic, from: "env:A", hosts: [api.anthropic.com], placeholder: ANTHROPIC_API_KEY}
  github: {provider: github, from: "env:G", hosts: [api.github.com], placeholder: GITHUB_TOKEN}
"""
KEY = b"k" * 32
MODEL, GITHUB = "POST https://api.anthropic.com/v1/messages", "GET https://api.github.com/user"
UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a2V5"]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "head.yaml").write_text(POLICY)
    return load_policy(tmp_path / "head.yaml")


def request_of(line: str) -> Request:
    method, _, url = line.partition(" ")
    return parse_request(method, url)


def ours(policy: Policy, line: str, *headers: str) -> Judged:
    request = request_of(line)
    verdict = judge(policy, request, datetime.now(UTC).date())
    return judge_head(policy, request, verdict, tuple(parse_header(header) for header in headers))


def fake(policy: Policy, name: str, sandbox: str = ANONYMOUS) -> str:
    return placeholder(KEY, sandbox, policy.name, policy.credentials[name])


def gates(policy: Policy, folder: Path, line: str, *headers: str) -> Reason:
    """The reason that a real gate gives to the same request, after the CONNECT that it needs."""
    (folder / "audit").mkdir(exist_ok=True)
    gate = Gate(
        serving=Serving.read([policy], {"A": "a-real-key", "G": "another-real-key"}),
        placeholder_key=KEY,
        audit=AuditSink(folder / "audit", 0),
        authenticate=lambda _: (ANONYMOUS, policy.name, 0.0),
        tokens_required=False,
    )
    request, session = request_of(line), Session("client")
    authority = f"{request.host.url_form}:{request.port}".encode()
    fields = tuple(parse_header(header) for header in headers)
    if not any(name.lower() == b"host" for name, _ in fields):
        fields = ((b"Host", authority), *fields)
    method, target = request.method.encode(), request.target.encode()
    if request.scheme == "https":
        connect = Head(b"CONNECT", authority, b"HTTP/1.1", ((b"Host", authority),), authority=authority)
        exchange = gate.connect(session, connect)
        if not exchange.allowed or session.connect.tunnel:
            return exchange.decision.reason
        head = Head(method, target, b"HTTP/1.1", fields)
    else:
        head = Head(method, target, b"HTTP/1.1", fields, b"http", authority)
    answer = gate.request(session, head, tls=request.scheme == "https")
    return (answer if isinstance(answer, Exchange) else answer.exchange).decision.reason


HEADS = [
    (MODEL, [], Reason.ALLOWED),
    (MODEL, ["X-Api-Key: {fake:anthropic}"], Reason.ALLOWED),
    (MODEL, ["X-Api-Key: outgate"], Reason.ALLOWED),
    (MODEL, ["Authorization: Bearer {fake:anthropic}"], Reason.ALLOWED),
    (MODEL, ["X-Api-Key: sk-ant-api03-somebody-else"], Reason.CLIENT_CREDENTIAL_REFUSED),
    (MODEL, ["x_api_key: mine"], Reason.CLIENT_CREDENTIAL_REFUSED),
    (MODEL, ["X-Api-Key: {fake:github}"], Reason.CREDENTIAL_WRONG_HOST),
    (MODEL + "?access_token=mine", [], Reason.CLIENT_CREDENTIAL_REFUSED),
    (GITHUB, ["Authorization: Basic {basic:github}"], Reason.ALLOWED),
    (GITHUB, ["Authorization: token {fake:github}"], Reason.ALLOWED),
    (GITHUB, ["Authorization: Basic bWU6cHc="], Reason.CLIENT_CREDENTIAL_REFUSED),
    ("GET https://docs.example.com/", ["Authorization: Bearer mine"], Reason.ALLOWED),
    ("GET https://docs.example.com/", ["X-Note: {fake:github}"], Reason.CREDENTIAL_WRONG_HOST),
    ("GET https://other.example.com/", ["Authorization: Bearer mine"], Reason.ALLOWED),
    ("GET https://docs.example.com/", ["Host: evil.example"], Reason.AUTHORITY_MISMATCH),
    ("GET https://docs.example.com/", ["Host: docs.example.com", "Host: docs.example.com"], Reason.MALFORMED_REQUEST),
    ("GET https://docs.example.com/", ["Content-Length: 1, 1"], Reason.MALFORMED_REQUEST),
    ("GET http://docs.example.com/", [], Reason.SCHEME_NOT_ALLOWED),
    ("GET http://docs.example.com/", ["Host: evil.example"], Reason.AUTHORITY_MISMATCH),
    ("GET https://evil.example/", ["X-Api-Key: {fake:anthropic}"], Reason.HOST_NOT_ALLOWED),
    ("GET https://docs.example.com/", ["Proxy-Authorization: Basic {fake:github}"], Reason.ALLOWED),
]


@pytest.mark.parametrize(("line", "headers", "reason"), HEADS)
def test_a_head_is_judged_as_the_gate_judges_it(
    policy: Policy, tmp_path: Path, line: str, headers: list[str], reason: Reason
) -> None:
    def fill(sandbox: str) -> list[str]:
        basic = base64.b64encode(f"x-access-token:{fake(policy, 'github', sandbox)}".encode()).decode()
        texts = {f"{{fake:{name}}}": fake(policy, name, sandbox) for name in policy.credentials}
        texts["{basic:github}"] = basic
        filled = list(headers)
        for text, value in texts.items():
            filled = [each.replace(text, value) for each in filled]
        return filled

    assert gates(policy, tmp_path, line, *fill(ANONYMOUS)) is reason
    # Here the fakes are those of a sandbox whose key nobody has.
    assert ours(policy, line, *fill("elsewhere")).verdict.decision.reason is reason


def test_a_variable_stands_for_its_placeholder(policy: Policy) -> None:
    assert ours(policy, MODEL, "X-Api-Key: {ANTHROPIC_API_KEY}").verdict.allowed
    refused = ours(policy, MODEL, "X-Api-Key: {GITHUB_TOKEN}")
    assert refused.verdict.decision.reason is Reason.CREDENTIAL_WRONG_HOST
    assert refused.detail == "the placeholder of github, which is not bound to api.anthropic.com"
    with pytest.raises(ConfigError) as caught:
        ours(policy, MODEL, "X-Api-Key: {NO_SUCH}")
    assert "{ANTHROPIC_API_KEY}, {GITHUB_TOKEN}" in caught.value.problems[0].hint


def test_the_form_is_the_one_that_the_client_uses(policy: Policy) -> None:
    default = ours(policy, MODEL).form
    bearer = ours(policy, MODEL, "Authorization: Bearer {ANTHROPIC_API_KEY}").form
    assert default is not None
    assert default.header == "x-api-key"
    assert bearer is not None
    assert bearer.bearer


def test_a_credential_of_another_host_is_not_sent(policy: Policy) -> None:
    judged = ours(policy, "GET https://other.example.com/")
    assert (judged.form, judged.not_injected) == (None, "it is not bound to this host")


def test_an_upgrade_is_seen_and_only_a_whole_one(policy: Policy) -> None:
    assert ours(policy, "GET https://docs.example.com/", *UPGRADE).websocket
    assert not ours(policy, "GET https://docs.example.com/", *UPGRADE[:3]).websocket
    assert not ours(policy, MODEL, *UPGRADE).websocket


def test_in_a_tunnel_no_header_is_seen(policy: Policy) -> None:
    judged = ours(policy, "GET https://pinned.example.com/", "X-Api-Key: mine")
    assert judged.verdict.allowed
    assert judged.notes == ("a tunnel: headers are not seen",)


@pytest.mark.parametrize("text", ["", "X-Api-Key", ": value", "X Api: v", "X-Key: a\nb", "X-Key: ü€", "X-Ké: a"])
def test_what_is_no_header_is_an_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_header(text)
    assert "value" not in caught.value.problems[0].message or "value" not in text


@given(st.text())
def test_no_text_does_more_than_parse_or_raise_the_one_error(text: str) -> None:
    try:
        name, _ = parse_header(text)
    except ConfigError:
        return
    assert name.isascii()
