"""http://outgate.internal/: a sandbox that was refused helps itself, and gains nothing by it."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faulty import Faulty
from tests.support.outgate import Outgate, run_outgate
from tests.support.rawclient import Answer, ClosedError, RawClient
from tests.support.upstream import Upstream

SECRET = "canary-value-0123456789-abcdef"
HOST = "outgate.internal"
ONE = """
version: 1
name: one
allow:
  - {id: first, why: a reviewer's word, hosts: [first.example], paths: [/v1/**], methods: [GET, POST], credential: key}
  - {id: plain, why: w, hosts: [plain.example], schemes: [http]}
deny:
  - {id: not-this, why: w, hosts: [first.example], paths: [/v1/keys/**]}
credentials:
  key: {from: "env:KEY", hosts: [first.example], inject: {bearer: true}, placeholder: KEY}
"""
TWO = """
version: 1
name: two
allow:
  - {id: second, why: w, hosts: [second.example]}
"""
OBSERVE = ONE.replace("name: one", "name: one\nmode: observe")

type Start = Callable[..., Outgate]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outgate]:
    """For tests that ask a little and leave nothing that another one sees. It can reach no upstream."""
    with Outgate(tmp_path_factory.mktemp("shared"), ONE, environ={"KEY": SECRET}) as running:
        yield running


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream) -> Outgate:
    return start_outgate(ONE, connect_to={"first.example:443": upstream.port}, environ={"KEY": SECRET})


def ask(
    client: RawClient, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    return client.request(method, f"http://{HOST}{path}", HOST, headers, body)


def fetch(outgate: Outgate, *given: Any, **more: Any) -> Answer:
    with outgate.client() as client:
        return ask(client, *given, **more)


def ask_for(outgate: Outgate, body: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fetch(outgate, "/access", "POST", headers, data)


def refuse(
    outgate: Outgate, host: str = "evil.example", path: str = "/", headers: dict[str, str] | None = None
) -> Answer:
    with outgate.client() as client:
        return client.request("GET", f"http://{host}{path}", host, headers)


def access_lines(outgate: Outgate) -> list[dict[str, Any]]:
    found = sorted((outgate.state / "audit").glob("access-*.jsonl"))
    return [json.loads(line) for file in found for line in file.read_text().splitlines()]


def token(outgate: Outgate, policy: str, name: str) -> dict[str, str]:
    proxy = outgate.env("--policy", policy, "--name", name)["HTTPS_PROXY"]
    login = proxy.partition("//")[2].partition("@")[0]
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


# --- what it says ---


def test_the_pages_say_what_is_allowed_and_nothing_else(shared: Outgate) -> None:
    home, policy = fetch(shared).json(), fetch(shared, "/policy")
    assert (home["sandbox"], home["policy"], home["mode"]) == ("local", "one", "enforce")
    assert set(home["pages"]) == {"policy", "refusals", "limits", "access"}
    first, plain = policy.json()["rules"]
    assert (first["hosts"], first["paths"], first["methods"]) == (["first.example"], ["/v1/**"], ["GET", "POST"])
    assert (first["credential_is_added"], first["placeholder"], plain["placeholder"]) == (True, "KEY", None)
    for kept in (SECRET, "reviewer", "env:", "not-this", "/v1/keys", str(shared.folder), "127.0.0.1"):
        assert kept.encode() not in policy.body


def test_text_is_for_who_asks_for_it(shared: Outgate) -> None:
    text = fetch(shared, "/policy", headers={"Accept": "text/plain"})
    assert text.header("content-type") == "text/plain; charset=utf-8"
    assert "hosts: first.example" in text.body.decode()
    assert fetch(shared, headers={"Accept": "*/*"}).header("content-type") == "application/json"


def test_every_spelling_of_the_name_is_the_name_and_no_other(shared: Outgate) -> None:
    with shared.client() as client:
        for place in (HOST, "OUTGATE.Internal", f"{HOST}.", f"{HOST}:8080"):
            assert client.request("GET", f"http://{place}/", place).json()["sandbox"] == "local"
    for place in (f"a@{HOST}", f"{HOST}:0", f"{HOST}..", f"{HOST}%00", "shared%2einternal"):
        with shared.client() as client:
            assert client.request("GET", f"http://{place}/", place).json()["reason"] == "malformed_request"
    with shared.client() as client:
        assert client.request("GET", f"http://x.{HOST}/", f"x.{HOST}").json()["reason"] == "host_not_allowed"


def test_https_is_answered_inside_the_tunnel(outgate: Outgate) -> None:
    with outgate.tunnel(f"{HOST}:443", alpn=("h2", "http/1.1")) as client:
        assert client.request("GET", "/", HOST).json()["policy"] == "one"
        assert client.request("POST", "/access", HOST, None, b"host=a.example&why=w").status == 202
        assert client.request("GET", "/limits", HOST).json()["access"]["left"] == 9


def test_a_tunnel_to_any_port_of_it_leads_here(shared: Outgate) -> None:
    with shared.client() as client:
        assert client.connect(f"{HOST}:8443").status == 200
        assert client.request("GET", "/", f"{HOST}:8443").json()["policy"] == "one"


def test_each_request_is_one_event_that_went_nowhere(outgate: Outgate, upstream: Upstream) -> None:
    fetch(outgate)
    fetch(outgate, "/nothing", "DELETE", {"Authorization": f"Bearer {SECRET}"})
    with outgate.tunnel(f"{HOST}:443") as client:
        client.request("HEAD", "/policy", HOST)
    events = outgate.wait_for_events(lambda found: len(found) >= 3)
    assert [(event["status"], event["end"]) for event in events] == [
        (200, "complete"),
        (404, "complete"),
        (200, "complete"),
    ]
    for event in events:
        assert (event["verdict"], event["reason"], event["rule"], event["host"]) == ("allow", "allowed", None, HOST)
        assert event["detail"] == "answered by outgate"
        assert (event["upstream_ip"], event["injected"], event["credential"], event["tls"]) == (None, False, None, None)
    assert upstream.record.raw() == b""


def test_methods_and_pages_that_are_none(shared: Outgate) -> None:
    for method, path, status in [
        ("GET", "/x", 404),
        ("POST", "/policy", 405),
        ("PUT", "/access", 405),
        ("OPTIONS", "/", 405),
    ]:
        answer = fetch(shared, path, method)
        assert (answer.status, answer.header("content-type")) == (status, "application/problem+json")
        assert {"type", "reason", "detail", "hint", "guidance", "audit_id", "message"} < set(answer.json())
    head = fetch(shared, "/", "HEAD")
    assert (head.status, head.body) == (200, b"")


# --- who may ask ---


def test_a_client_without_a_token_is_challenged_here_too(start_outgate: Start) -> None:
    outgate = start_outgate({"one.yaml": ONE, "two.yaml": TWO}, environ={"KEY": SECRET})
    assert fetch(outgate).status == 407
    with outgate.client() as client:
        assert client.connect(f"{HOST}:443").status == 407
    assert fetch(outgate, headers=token(outgate, "two", "a")).json()["policy"] == "two"


def test_refusals_are_those_of_this_sandbox_and_policy_from_every_worker(start_outgate: Start) -> None:
    outgate = start_outgate({"one.yaml": ONE, "two.yaml": TWO}, environ={"KEY": SECRET}, workers=2)
    mine, other, same_name = token(outgate, "one", "a"), token(outgate, "one", "b"), token(outgate, "two", "a")
    told = [refuse(outgate, headers=mine).json()["audit_id"] for _ in range(6)]
    refuse(outgate, "plain.example", "/x?secret=1", other)
    refuse(outgate, "elsewhere.example", "/", same_name)
    answer = fetch(outgate, "/refusals", headers=mine)
    (refusal,) = answer.json()["refusals"]
    assert (refusal["host"], refusal["times"], refusal["reason"]) == ("evil.example", 6, "host_not_allowed")
    assert refusal["audit_id"] in told
    assert answer.json()["whole"] is True
    assert [each["host"] for each in fetch(outgate, "/refusals", headers=same_name).json()["refusals"]] == [
        "elsewhere.example"
    ]
    assert b"a.example" not in fetch(outgate, "/refusals", headers=token(outgate, "two", "c")).body.replace(
        b"api.", b""
    )


# --- requests for access ---


def test_a_request_for_access_is_written_down_and_changes_nothing(outgate: Outgate, upstream: Upstream) -> None:
    answer = ask_for(
        outgate, {"host": "Docs.Example.", "method": "GET", "path": "/v1?key=1", "why": "the docs\nof it\x1b[2J"}
    )
    assert (answer.status, answer.json()["changed"], answer.json()["left"]) == (202, "nothing", 9)
    (record,) = access_lines(outgate)
    (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
    assert record["type"] == "access_request"
    assert record["id"] == event["id"] == answer.json()["audit_id"]
    assert (record["sandbox"], record["policy"], record["host"], record["path"]) == (
        "local",
        "one",
        "docs.example",
        "/v1",
    )
    assert record["why"] == "the docs\\nof it\\x1b[2J"
    assert event["detail"].startswith("answered by outgate: access to docs.example asked for: the docs\\n")
    assert "a sandbox asks for access" in outgate.stderr
    assert "docs.example" in outgate.stderr
    assert refuse(outgate, "docs.example").json()["reason"] == "host_not_allowed"


def test_requests_for_access_are_counted_over_all_workers(start_outgate: Start) -> None:
    outgate = start_outgate(ONE, environ={"KEY": SECRET}, workers=2)
    asked = [ask_for(outgate, b"host: a.example\nwhy: w") for _ in range(11)]
    assert [answer.status for answer in asked] == [202] * 10 + [429]
    assert 0 < int(asked[-1].header("retry-after") or 0) <= 3600
    assert fetch(outgate, "/limits").json()["access"]["left"] == 0
    assert len(access_lines(outgate)) == 10


NO_REQUESTS = [
    (b"", 400),
    (b"{", 400),
    (b'{"host": ["a.example"], "why": "w"}', 400),
    (b'{"host": "a.example", "host": "b.example", "why": "w"}', 400),
    (b'{"host": "https://a.example/", "why": "w"}', 400),
    (b'{"a":' + b"[" * 4000, 400),
    (b"host=a.example&why=" + b"w" * 501, 400),
    (b"host=a.example&why=\xff", 400),
    (b"host=a.example&why=" + b"w" * 5000, 413),
]


def test_what_is_no_request_for_access_is_told_so_and_not_repeated(shared: Outgate) -> None:
    before = access_lines(shared)
    with shared.client() as client:
        for body, status in NO_REQUESTS:
            answer = ask(client, "/access", "POST", None, body)
            assert answer.status == status, body
            assert b"a.example" not in answer.body
        assert ask(client).status == 200, "the connection goes on"
    assert access_lines(shared) == before


def test_nothing_that_a_client_brings_is_used_or_repeated(outgate: Outgate, upstream: Upstream) -> None:
    fake = outgate.env()["KEY"]
    headers = {"Authorization": f"Bearer {fake}", "Cookie": fake, "User-Agent": fake, "Accept": fake}
    answers = [
        fetch(outgate, f"/{fake}?{fake}", "GET", headers),
        ask_for(outgate, {"host": "a.example", "why": fake}, headers),
        ask_for(outgate, {"host": fake, "why": fake}, headers),
    ]
    for answer in answers:
        assert fake.encode() not in answer.body
        assert SECRET.encode() not in answer.body
        assert fake not in str(answer.headers)
    assert upstream.record.raw() == b""


# --- attacks ---


def test_in_observe_mode_it_stays_here(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(OBSERVE, connect_to={"first.example:443": upstream.port}, environ={"KEY": SECRET})
    assert fetch(outgate, "/x").status == 404
    with outgate.tunnel(f"{HOST}:443") as client:
        assert client.request("GET", "/", HOST).json()["mode"] == "observe"
    assert {event["upstream_ip"] for event in outgate.events()} == {None}


def test_the_name_cannot_be_led_elsewhere(shared: Outgate) -> None:
    policy, mapped = str(shared.policies), f"{HOST}:443:127.0.0.1:1"
    done = run_outgate(shared.folder, "serve", "--policy", policy, "--connect-to", mapped)
    assert (done.returncode, HOST in done.stderr) == (2, True)


def test_a_body_that_stops_is_given_up(tmp_path: Path) -> None:
    with (
        Faulty(tmp_path, ONE, environ={"KEY": SECRET}, limits={"HEAD_TIME": 0.3}) as outgate,
        outgate.client() as client,
    ):
        client.send(_head("POST", "/access", {"Content-Length": "100"}) + b"host=")
        assert client.closed()
        (event,) = outgate.wait_for_events(bool)
        assert (event["verdict"], event["reason"], event["end"]) == ("deny", "limit_exceeded", "aborted")


def test_two_names_on_one_connection_are_refused(outgate: Outgate, upstream: Upstream) -> None:
    for target, name in ((HOST, "first.example"), ("first.example", HOST)):
        with outgate.client() as client:
            assert client.connect(f"{target}:443").status == 200
            client.tls(name, ca_file=outgate.ca_file)
            assert client.request("GET", "/v1/x", target).json()["reason"] == "authority_mismatch"
        with outgate.tunnel(f"{target}:443") as client:
            assert client.request("GET", "/v1/x", name).json()["reason"] == "authority_mismatch"
    assert upstream.record.raw() == b""


def test_what_follows_on_the_connection_is_judged_as_ever(shared: Outgate) -> None:
    """Pipelined, and smuggled in a body: neither the pages nor their answers open anything."""
    inner = b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    with shared.client() as client:
        body = b"host=a.example&why=" + inner
        head = f"POST http://{HOST}/access HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body + inner + f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        answers = [client.read(), client.read(), client.read()]
    assert [answer.status for answer in answers] == [202, 403, 200]
    with shared.client() as client:
        client.send(
            f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(inner)}\r\n\r\n".encode() + inner
        )
        client.send(inner)
        assert [client.read().status, client.read().status] == [200, 403]
    with shared.client() as client:
        client.send(f"POST http://{HOST}/access HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n".encode())
        client.send(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert client.read().status == 400


def test_a_body_is_invited_only_where_it_is_read(shared: Outgate) -> None:
    expect = {"Expect": "100-continue", "Content-Length": "20"}
    with shared.client() as client:
        client.send(_head("POST", "/access", expect))
        assert client.read_head().status == 100
        client.send(b"host=a.example&why=w")
        assert client.read().status == 202
    with shared.client() as client:
        client.send(_head("POST", "/policy", expect))
        assert client.read().status == 405


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} http://{HOST}{path} HTTP/1.1", f"Host: {HOST}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_websocket_is_not_opened_here(shared: Outgate) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with shared.client() as client:
        assert ask(client, "/", "GET", upgrade).status == 200
        assert ask(client, "/limits").status == 200


def test_a_client_that_leaves_within_its_body_is_on_record_once(outgate: Outgate) -> None:
    with outgate.client() as client:
        client.send(_head("POST", "/access", {"Content-Length": "100"}) + b"host=")
    (event,) = outgate.wait_for_events(bool)
    assert (event["end"], event["status"], event["upstream_ip"]) == ("client_closed", None, None)
    assert access_lines(outgate) == []


def test_too_many_visits_are_told_to_wait(outgate: Outgate) -> None:
    with outgate.client() as client:
        statuses = [ask(client).status for _ in range(61)]
        assert statuses == [200] * 60 + [429]
        late = ask(client)
        assert 0 < int(late.header("retry-after") or 0) <= 60
        assert late.json()["reason"] == "limit_exceeded"


def test_what_cannot_be_recorded_is_not_answered(outgate: Outgate) -> None:
    (outgate.state / "audit" / "access-0.jsonl").mkdir()
    answer = ask_for(outgate, b"host=a.example&why=w")
    assert (answer.status, answer.json()["reason"]) == (503, "audit_unavailable")


# --- the same again and again ---


def test_a_repeated_refusal_says_so_plainly_and_reaches_the_operator_once(outgate: Outgate) -> None:
    told = [refuse(outgate, path=f"/{number}") for number in range(7)]
    assert {answer.status for answer in told} == {403}
    assert [answer.json().get("repeated") for answer in told] == [None] * 4 + [5, 6, 7]
    assert told[4].json()["hint"].startswith("stop trying: this was refused 5 times now")
    assert "http://outgate.internal/" in told[4].json()["message"]
    assert outgate.stderr.count("refused the same again and again") == 1
    events = outgate.wait_for_events(lambda found: len(found) == 7)
    assert [event["detail"] for event in events][3:5] == ["", "refused 5 times"]
    assert "repeated" not in refuse(outgate, "other.example").json()


def test_a_connection_that_is_cut_in_half_leaves_the_proxy_whole(shared: Outgate) -> None:
    with shared.client() as client:
        client.send(_head("POST", "/access", {"Transfer-Encoding": "chunked"}) + b"zz\r\n")
        with pytest.raises((ClosedError, AssertionError)):
            assert client.read().status == 202
    assert fetch(shared).status == 200
