"""Bounds and half-open doors: what a hostile client or upstream could grow, hide or outlive."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.rawclient import ClosedError, RawClient
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: bounds
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream, h2_upstream: H2Upstream) -> Outgate:
    mapping = {f"{host}.example:443": upstream.port for host in ("good", "free", "pinned")}
    mapping["h2.example:443"] = h2_upstream.port
    return start_outgate(POLICY, connect_to=mapping, environ={"KEY": SECRET})


def cpu_of(pid: int) -> float:
    """CPU seconds that the workers of a proxy have used."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    stats = [Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split() for worker in workers]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / 100


def hello(name: bytes, *, minor: int = 1) -> bytes:
    """A minimal TLS 1.2 ClientHello with a server name, in one record."""
    server_name = b"\x00" + len(name).to_bytes(2) + name
    extension = len(server_name).to_bytes(2) + server_name
    extensions = b"\x00\x00" + len(extension).to_bytes(2) + extension
    body = (
        b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2) + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03" + bytes([minor]) + len(handshake).to_bytes(2) + handshake


@pytest.mark.parametrize("minor", [1, 3, 4, 255])
def test_no_version_byte_hides_a_server_name_from_a_tunnel(outgate: Outgate, upstream: Upstream, minor: int) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.send(hello(b"evil.example", minor=minor))
        assert client.closed()
    event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert event["verdict"] == "deny"
    assert all(not arrival.raw and arrival.sni is None for arrival in upstream.record.connections)


@pytest.mark.parametrize("host", ["good.example", "pinned.example"])
def test_a_hello_in_tiny_records_is_cut_at_once(outgate: Outgate, host: str) -> None:
    body = hello(b"good.example")[5:]
    pieces = b"".join(b"\x16\x03\x01\x00\x01" + body[at : at + 1] for at in range(len(body)))
    with outgate.client() as client:
        assert client.connect(f"{host}:443").status == 200
        client.send(pieces)
        assert client.closed()
    event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert (event["verdict"], event["reason"]) == ("deny", "protocol_not_allowed")


def test_ranges_cannot_take_an_echoed_secret_apart(outgate: Outgate, upstream: Upstream) -> None:
    with outgate.tunnel("good.example:443") as client:
        client.request("GET", "/", "good.example", {"Range": "bytes=0-5", "If-Range": "x"})
    assert upstream.record.last.values("range") == []
    assert upstream.record.last.values("if-range") == []
    with outgate.tunnel("free.example:443") as client:
        client.request("GET", "/", "free.example", {"Range": "bytes=0-5"})
    assert upstream.record.last.values("range") == ["bytes=0-5"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_body_in_tiny_chunks_costs_a_turn_for_each_read_not_for_each_chunk(
    outgate: Outgate, upstream: Upstream, direction: str
) -> None:
    count = 20_000
    chunks = b"1\r\na\r\n" * count + b"0\r\n\r\n"
    upstream.on("/down", answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    before = cpu_of(outgate.ready["pid"])
    with outgate.tunnel("free.example:443") as client:
        if direction == "up":
            client.send(b"POST /up HTTP/1.1\r\nHost: free.example\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            assert client.read().status == 200
            assert upstream.record.last.body == b"a" * count
            assert upstream.record.raw().count(b"\r\n") < count / 10, "the chunks of one read go out as one"
        else:
            assert client.request("GET", "/down", "free.example").body == b"a" * count
    spent = cpu_of(outgate.ready["pid"]) - before
    assert spent < 2.0, f"{spent} s of CPU for {count} chunks; it was 0.28 ms for each before they were joined"


def test_resetting_stream_after_stream_ends_the_connection(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    client = Client(outgate, "h2.example")
    for _ in range(300):
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, fields(host="h2.example"), end_stream=True)
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    try:
        client.socket.sendall(client.h2.data_to_send())
        while client.socket.recv(65536):
            pass
    except OSError:
        pass
    events = outgate.wait_for_events(lambda found: any(event["reason"] == "limit_exceeded" for event in found))
    assert len(h2_upstream.record.requests) <= 110
    assert all(event["end"] for event in events)


def test_what_is_sent_after_an_early_answer_is_on_record(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/early", answers.raw_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"))
    with outgate.tunnel("free.example:443") as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: free.example\r\nContent-Length: 300000\r\n\r\n")
        assert client.read().body == b"early"
        assert outgate.events() == []
        client.send(b"x" * 300_000)
        event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert (event["verdict"], event["bytes_out"], event["end"]) == ("allow", 300_000, "complete")


def test_an_answer_that_cannot_be_passed_on_does_not_make_the_request_unsent(
    outgate: Outgate, upstream: Upstream
) -> None:
    upstream.otherwise(answers.reply(200, b"x", {"Content-Encoding": "unheard-of"}))
    with outgate.tunnel("good.example:443") as client:
        refused = client.request("GET", "/", "good.example")
    assert refused.json()["reason"] == "protocol_not_allowed"
    assert "before anything was sent" not in refused.json()["detail"]
    event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert (event["verdict"], event["reason"], event["injected"]) == ("allow", "protocol_not_allowed", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\n\r\n" * 100 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_odd_answer_is_not_passed_on(outgate: Outgate, upstream: Upstream, answer: bytes) -> None:
    upstream.otherwise(answers.raw(answer))
    with outgate.tunnel("free.example:443") as client:
        assert client.request("GET", "/", "free.example").json()["reason"] == "upstream_unreachable"


def test_an_upstream_that_closes_each_time_is_dialled_each_time(outgate: Outgate, upstream: Upstream) -> None:
    upstream.otherwise(answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", close=True))
    with outgate.tunnel("free.example:443") as client:
        for _ in range(20):
            assert client.request("GET", "/", "free.example").body == b"ok"
    assert len(upstream.record.connections) == 20


def test_a_token_that_expires_ends_what_it_opened(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(
        {"one.yaml": POLICY, "two.yaml": POLICY.replace("bounds", "second")},
        connect_to={"good.example:443": upstream.port},
        environ={"KEY": SECRET},
    )
    url = outgate.env("--policy", "bounds", "--ttl", "3s")["HTTPS_PROXY"]
    token = url.removeprefix("http://").partition("@")[0].rpartition(":")[2]
    until = time.time() + 5
    with RawClient(outgate.address) as client:
        assert client.connect("good.example:443", {"Proxy-Authorization": f"Bearer {token}"}).status == 200
        client.tls("good.example", ca_file=outgate.ca_file)
        assert client.request("GET", "/", "good.example").status == 200
        try:
            while client.request("GET", "/", "good.example").status == 200:
                assert time.time() < until, "it outlived its token"
        except (ClosedError, OSError):
            pass
    assert all(event["verdict"] == "allow" or event["reason"] == "unauthenticated" for event in outgate.events())


def test_many_questions_without_a_token_are_many_events(start_outgate: Start) -> None:
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, listen="0.0.0.0:0")
    with outgate.client() as client:
        for number in range(4):
            assert client.connect(f"host-{number}.example:443").status == 407
    events = outgate.wait_for_events(lambda found: len(found) == 4)
    assert sorted(event["host"] for event in events) == [f"host-{number}.example" for number in range(4)]
