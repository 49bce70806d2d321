"""The main job: an agent reaches its model with a fake key, nothing else, and every request is on record."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

REAL = "sk-ant-api03-the-real-key-0123456789"
POLICY = """
version: 1
name: agent
allow:
  - id: model
    why: the model
    hosts: [api.anthropic.com]
    methods: [POST]
    paths: [/v1/messages, /v1/messages/*]
    credential: anthropic
  - id: any
    why: everything on one host
    hosts: [any.example]
    access: any
  - id: token
    why: a token of our own kind
    hosts: [token.example]
    access: any
    credential: token
  - id: http2
    why: a host that speaks HTTP/2
    hosts: [h2.example]
    access: any
    http2: true
  - id: plain
    why: a mirror without TLS
    hosts: [plain.example]
    schemes: [http, https]
  - id: tunnel
    why: a client that pins its certificate
    hosts: [pinned.example]
    inspect: false
deny:
  - id: no-admin
    why: never
    hosts: [any.example]
    paths: [/admin/**]
credentials:
  anthropic:
    provider: anthropic
    from: env:REAL_KEY
    hosts: [api.anthropic.com]
    placeholder: ANTHROPIC_API_KEY
  token:
    from: env:REAL_KEY
    hosts: [token.example]
    inject: {header: X-Token, format: "token {secret}"}
    placeholder: TOKEN
"""
HTTPS_HOSTS = ("api.anthropic.com", "any.example", "token.example", "pinned.example")

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream, plain_upstream: Upstream, h2_upstream: H2Upstream) -> Outgate:
    """The proxy under the policy above, with every host mapped to an upstream here."""
    mapping = {f"{host}:443": upstream.port for host in HTTPS_HOSTS}
    mapping |= {"plain.example:80": plain_upstream.port, "h2.example:443": h2_upstream.port}
    return start_outgate(POLICY, connect_to=mapping, environ={"REAL_KEY": REAL})


def last_event(outgate: Outgate) -> dict[str, Any]:
    """The newest event, once there is one."""
    events = outgate.wait_for_events(lambda found: len(found) > 0)
    return dict(events[-1])


def test_the_real_key_arrives_in_place_of_the_fake_one(outgate: Outgate, upstream: Upstream) -> None:
    fake = outgate.env()["ANTHROPIC_API_KEY"]
    assert fake.startswith("sk-ant-api03-")
    with outgate.tunnel("api.anthropic.com:443") as client:
        answer = client.request("POST", "/v1/messages?beta=true", "api.anthropic.com", {"x-api-key": fake}, b"{}")
    assert answer.status == 200
    received = upstream.record.last
    assert received.values("x-api-key") == [REAL]
    assert received.target == "/v1/messages?beta=true"
    assert fake.encode() not in upstream.record.raw()
    event = last_event(outgate)
    assert (event["verdict"], event["reason"], event["rule"]) == ("allow", "allowed", "model")
    assert (event["credential"], event["injected"], event["end"]) == ("anthropic", True, "complete")
    assert (event["path"], event["query_keys"]) == ("/v1/messages", ["beta"])
    assert event["upstream_ip"] == "127.0.0.1"
    assert event["tls"] == "TLSv1.3"
    assert REAL not in json.dumps(outgate.events()) + outgate.stderr + outgate.stdout


def test_a_bearer_fake_becomes_a_bearer_key_and_the_other_slot_is_cleared(outgate: Outgate, upstream: Upstream) -> None:
    fake = outgate.env()["ANTHROPIC_API_KEY"]
    with outgate.tunnel("api.anthropic.com:443") as client:
        client.request("POST", "/v1/messages", "api.anthropic.com", {"Authorization": f"Bearer {fake}"}, b"{}")
    assert upstream.record.last.values("authorization") == [f"Bearer {REAL}"]
    assert upstream.record.last.values("x-api-key") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "sk-ant-api03-someone-elses"},
        {"Authorization": "Bearer sk-ant-api03-someone-elses"},
        {"x-api-key": "outgate", "Authorization": "Bearer sk-ant-api03-someone-elses"},
    ],
)
def test_a_key_of_the_clients_own_is_refused(outgate: Outgate, upstream: Upstream, headers: dict[str, str]) -> None:
    with outgate.tunnel("api.anthropic.com:443") as client:
        answer = client.request("POST", "/v1/messages", "api.anthropic.com", headers, b"{}")
    assert answer.status == 403
    assert answer.json()["reason"] == "client_credential_refused"
    assert "someone-elses" not in json.dumps(answer.json())
    assert not upstream.record.connections


def test_a_placeholder_for_another_host_is_refused(outgate: Outgate, upstream: Upstream) -> None:
    fake = outgate.env()["ANTHROPIC_API_KEY"]
    with outgate.tunnel("any.example:443") as client:
        answer = client.request("GET", f"/?x={fake}", "any.example")
    assert answer.json()["reason"] == "credential_wrong_host"
    assert not upstream.record.connections


@pytest.mark.parametrize(
    ("host", "method", "path", "reason"),
    [
        ("evil.example", "GET", "/", "host_not_allowed"),
        ("api.anthropic.com", "POST", "/v1/files", "path_not_allowed"),
        ("api.anthropic.com", "GET", "/v1/messages", "method_not_allowed"),
        ("api.anthropic.com", "POST", "/v1/messages/../files", "ambiguous_path"),
        ("any.example", "GET", "/admin/users", "denied_by_rule"),
        ("any.example", "GET", "/%61dmin/users", "denied_by_rule"),
        ("any.example", "TRACE", "/", "method_not_allowed"),
        ("any.example", "get", "/", "malformed_request"),
    ],
)
def test_what_the_policy_does_not_allow_reaches_nobody(
    outgate: Outgate, upstream: Upstream, host: str, method: str, path: str, reason: str
) -> None:
    with outgate.tunnel(f"{host}:443") as client:
        answer = client.request(method, path, host)
    assert answer.json()["reason"] == reason
    assert not upstream.record.connections
    event = last_event(outgate)
    assert (event["verdict"], event["reason"], event["end"]) == ("deny", reason, "refused")
    assert event["id"] == answer.json()["audit_id"]


def test_a_refused_connection_stays_usable_and_each_request_has_one_event(outgate: Outgate, upstream: Upstream) -> None:
    with outgate.tunnel("any.example:443") as client:
        first = client.request("POST", "/admin/x", "any.example", None, b"x" * 100_000)
        second = client.request("GET", "/ok", "any.example")
    assert (first.status, second.status) == (403, 200)
    assert [request.target for request in upstream.record.requests] == ["/ok"]
    events = outgate.wait_for_events(lambda found: len(found) == 2)
    assert [event["reason"] for event in events] == ["denied_by_rule", "allowed"]


def test_keep_alive_uses_one_upstream_connection(outgate: Outgate, upstream: Upstream) -> None:
    with outgate.tunnel("any.example:443") as client:
        for number in range(5):
            assert client.request("GET", f"/{number}", "any.example").status == 200
    assert len(upstream.record.connections) == 1
    assert len(outgate.wait_for_events(lambda found: len(found) == 5)) == 5


def test_a_stream_arrives_as_it_is_made(outgate: Outgate, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/v1/messages", answers.sse(["first", gate, "second"]))
    with outgate.tunnel("api.anthropic.com:443") as client:
        client.send(b"POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\nContent-Length: 2\r\n\r\n{}")
        assert client.read_head().status == 200
        assert client.read_chunk() == b"data: first\n\n"
        gate.open()
        assert client.read_chunk() == b"data: second\n\n"
        assert client.read_chunk() == b""
    assert last_event(outgate)["ttfb_ms"] is not None


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_an_echoed_key_is_masked(outgate: Outgate, upstream: Upstream, coding: str) -> None:
    import gzip

    body = f'{{"you sent": "{REAL}"}}'.encode()
    headers = {"X-Echo": REAL} | ({"Content-Encoding": "gzip"} if coding else {})
    upstream.on("/v1/messages", answers.reply(200, gzip.compress(body) if coding else body, headers))
    with outgate.tunnel("api.anthropic.com:443") as client:
        answer = client.request("POST", "/v1/messages", "api.anthropic.com", None, b"{}")
    assert answer.body == b'{"you sent": "' + b"*" * len(REAL) + b'"}'
    assert answer.header("x-echo") == "*" * len(REAL)
    assert upstream.record.last.values("accept-encoding") == ["identity"]


def test_large_bodies_pass_whole_in_both_directions(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/down", answers.huge(30_000_000))
    upload = b"0123456789abcdef" * 500_000
    with outgate.tunnel("any.example:443") as client:
        echo = client.request("PUT", "/up", "any.example", None, upload)
        down = client.request("GET", "/down", "any.example")
    assert echo.status == 200
    assert hashlib.sha256(upstream.record.requests[0].body).digest() == hashlib.sha256(upload).digest()
    assert (len(down.body), down.complete) == (30_000_000, True)
    events = outgate.wait_for_events(lambda found: len(found) == 2)
    assert events[0]["bytes_out"] == len(upload)
    assert events[1]["bytes_in"] == 30_000_000


def test_a_body_cut_short_is_never_presented_as_complete(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/sized", answers.cut(b"half", 100))
    upstream.on("/chunked", answers.chunked([b"half"], whole=False))
    for path in ("/sized", "/chunked"):
        with outgate.tunnel("any.example:443") as client:
            answer = client.request("GET", path, "any.example")
        assert not answer.complete
    events = outgate.wait_for_events(lambda found: len(found) == 2)
    assert [event["end"] for event in events] == ["upstream_closed"] * 2


def test_interim_answers_and_trailers_do_not_break_the_exchange(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/hints", answers.early_hints(answers.reply(200, b"after the hints")))
    upstream.on("/trailers", answers.chunked([b"body"], trailers=[("X-Sum", "1")]))
    with outgate.tunnel("any.example:443") as client:
        assert client.request("GET", "/hints", "any.example").body == b"after the hints"
        assert client.request("GET", "/trailers", "any.example").body == b"body"


def test_expect_100_continue_is_answered_only_for_what_is_allowed(outgate: Outgate, upstream: Upstream) -> None:
    head = b"PUT /%s HTTP/1.1\r\nHost: any.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with outgate.tunnel("any.example:443") as client:
        client.send(head % b"ok")
        assert client.read_head().status == 100
        client.send(b"body")
        assert client.read().status == 200
    with outgate.tunnel("any.example:443") as client:
        client.send(head % b"admin/x")
        assert client.read().status == 403
    assert upstream.record.last.body == b"body"
    assert upstream.record.last.values("expect") == []


def test_a_websocket_is_relayed_with_its_credential(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/socket", answers.websocket_echo)
    with outgate.tunnel("token.example:443") as client:
        client.send(
            b"GET /socket HTTP/1.1\r\nHost: token.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        assert client.read_head().status == 101
        client.send(answers.frame(1, b"hello", b"mask"))
        assert client.read_exactly(7) == b"\x81\x05hello"
        client.send(answers.frame(1, REAL.encode(), b"mask"))
        assert client.read_exactly(2 + len(REAL))[2:] == b"*" * len(REAL)
        client.send(answers.frame(8, b"", b"mask"))
        assert client.read_exactly(2)[:1] == b"\x88"
    assert upstream.record.last.values("x-token") == [f"token {REAL}"]
    assert upstream.record.last.values("sec-websocket-extensions") == []
    event = last_event(outgate)
    assert (event["status"], event["injected"], event["verdict"]) == (101, True, "allow")


def test_a_refused_websocket_gets_426(outgate: Outgate) -> None:
    with outgate.tunnel("evil.example:443") as client:
        answer = client.request(
            "GET",
            "/",
            "evil.example",
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        )
    assert answer.status == 426


def test_plain_http_passes_where_a_rule_says_so(outgate: Outgate, plain_upstream: Upstream) -> None:
    with outgate.client() as client:
        answer = client.request("GET", "http://plain.example/x?y=1", "plain.example", {"Proxy-Connection": "x"})
        again = client.request("GET", "http://any.example/", "any.example")
    assert answer.status == 200
    assert plain_upstream.record.last.target == "/x?y=1"
    assert plain_upstream.record.last.values("proxy-connection") == []
    assert again.json()["reason"] == "scheme_not_allowed"


def test_plain_http_inside_connect_is_held_to_the_same_rules(outgate: Outgate, plain_upstream: Upstream) -> None:
    with outgate.client() as client:
        assert client.connect("plain.example:80").status == 200
        assert client.request("GET", "/tunnelled", "plain.example").status == 200
    assert plain_upstream.record.last.target == "/tunnelled"
    assert len(outgate.events()) == 1
    with outgate.client() as client:
        assert client.connect("any.example:443").status == 200
        assert client.request("GET", "/", "any.example").json()["reason"] == "scheme_not_allowed"


def test_a_tunnel_is_not_intercepted_and_has_one_event(outgate: Outgate, upstream: Upstream) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.tls("pinned.example", ca_file=upstream.ca_file)
        assert client.request("GET", "/", "pinned.example").status == 200
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (events[0]["method"], events[0]["rule"], events[0]["end"]) == ("CONNECT", "tunnel", "client_closed")
    assert events[0]["bytes_in"] > 0
    assert events[0]["upstream_ip"] == "127.0.0.1"


def test_a_tunnel_with_another_server_name_is_cut(outgate: Outgate, upstream: Upstream) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        with pytest.raises(OSError):
            client.tls("evil.example", ca_file=upstream.ca_file)
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (events[0]["verdict"], events[0]["reason"]) == ("deny", "authority_mismatch")
    assert upstream.record.raw() == b""


def test_http2_is_offered_where_a_rule_asks_for_it(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    import httpx

    proxy = f"http://{outgate.address}"
    with httpx.Client(http2=True, proxy=proxy, verify=str(outgate.ca_file), trust_env=False) as client:
        answer = client.get("https://h2.example/over-h2")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
        refused = client.get("https://any.example/admin/x")
        assert (refused.status_code, refused.http_version) == (403, "HTTP/1.1")
    assert h2_upstream.record.last.target == "/over-h2"
