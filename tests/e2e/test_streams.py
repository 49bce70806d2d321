"""Where one message ends and the next begins: pipelines, early ends, half-closed connections, framing that changes."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.rawclient import ClosedError, RawClient
from tests.support.record import Received
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Answer, H2Upstream
from tests.support.wire import Wire

SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: streams
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: plain, why: w, hosts: [plain.example], access: any, schemes: [http]}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true}
  - {id: mixed, why: w, hosts: [mixed.example], access: any, http2: true, credential: mixed}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
  mixed: {from: "env:KEY", hosts: [mixed.example], inject: {bearer: true}}
"""

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream, plain_upstream: Upstream, h2_upstream: H2Upstream) -> Outgate:
    mapping = {f"{host}.example:443": upstream.port for host in ("good", "free", "mixed")}
    mapping |= {"plain.example:80": plain_upstream.port, "h2.example:443": h2_upstream.port}
    return start_outgate(POLICY, connect_to=mapping, environ={"KEY": SECRET})


async def echo(request: Received, wire: Wire) -> None:
    body = await wire.body(request)
    await answers.reply(200, request.target.rpartition("/")[2].encode() + b":" + body)(request, wire)


def opened(outgate: Outgate, kind: str) -> tuple[RawClient, str, str]:
    """A connection, with the prefix of its targets and its host."""
    if kind == "tls":
        return outgate.tunnel("free.example:443"), "", "free.example"
    return outgate.client(), "http://plain.example", "plain.example"


def events_of(outgate: Outgate, count: int) -> list[dict[str, Any]]:
    return outgate.wait_for_events(lambda found: len(found) == count)


# --- pipelines ---


def pipelined(prefix: str, host: str, kind: str, number: int) -> tuple[bytes, int, bytes]:
    """One request of a pipeline, with the status and body that answer it."""
    name, line = f"{number:03}", "{} {}/echo/{:03} HTTP/1.1\r\nHost: {}\r\n"
    if kind == "refused" or (kind == "mixed" and number % 3 == 2):
        return line.format("GET", prefix, number, "evil.example").encode() + b"\r\n", 403, b""
    if kind == "get" or (kind == "mixed" and number % 3 == 0):
        return line.format("GET", prefix, number, host).encode() + b"\r\n", 200, f"{name}:".encode()
    body = name.encode() * 7
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    return line.format("POST", prefix, number, host).encode() + length + body, 200, name.encode() + b":" + body


@pytest.mark.parametrize("path", ["tls", "plain"])
@pytest.mark.parametrize("kind", ["get", "post", "mixed", "refused"])
def test_pipelined_requests_are_answered_whole_and_in_order(
    outgate: Outgate, upstream: Upstream, plain_upstream: Upstream, path: str, kind: str
) -> None:
    for server in (upstream, plain_upstream):
        server.otherwise(echo)
    client, prefix, host = opened(outgate, path)
    requests = [pipelined(prefix, host, kind, number) for number in range(60)]
    with client:
        client.send(b"".join(data for data, _, _ in requests))
        for _, status, body in requests:
            answer = client.read()
            assert answer.status == status
            assert status != 200 or answer.body == body
    events = events_of(outgate, len(requests))
    assert [event["status"] for event in events] == [status for _, status, _ in requests]
    assert {event["end"] for event in events} <= {"complete", "refused"}
    assert len(upstream.record.connections) + len(plain_upstream.record.connections) <= 1


def test_a_pipeline_that_ends_with_the_clients_half_is_answered_to_its_end(
    outgate: Outgate, plain_upstream: Upstream
) -> None:
    plain_upstream.otherwise(echo)
    with outgate.client() as client:
        client.send(b"".join(pipelined("http://plain.example", "plain.example", "post", n)[0] for n in range(5)))
        client.end()
        assert [client.read().body[:3] for _ in range(5)] == [b"000", b"001", b"002", b"003", b"004"]
        assert client.closed()
    assert [event["end"] for event in events_of(outgate, 5)] == ["complete"] * 5


# --- the end of a client ---


@pytest.mark.parametrize("path", ["tls", "plain"])
def test_a_client_that_has_said_all_gets_its_answer(
    outgate: Outgate, upstream: Upstream, plain_upstream: Upstream, path: str
) -> None:
    client, prefix, host = opened(outgate, path)
    server = upstream if path == "tls" else plain_upstream
    gate = server.gate()
    server.on("/late", answers.wait_for(gate, answers.reply(200, b"late")))
    with client:
        client.send(f"GET {prefix}/late HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        server.record.wait(lambda record: len(record.requests) == 1)
        if path == "tls":
            goodbye(client)
        else:
            client.end()
        gate.open()
        assert client.read().body == b"late"
    assert events_of(outgate, 1)[0]["end"] == "complete"


def goodbye(client: RawClient) -> None:
    """Send close_notify and go on reading (RFC 8446 section 6.1)."""
    assert isinstance(client._socket, ssl.SSLSocket)
    client._socket.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        client._socket.unwrap()
    client._socket.settimeout(10)


def test_a_client_that_is_gone_ends_its_exchange_at_once(outgate: Outgate, upstream: Upstream) -> None:
    """Over TLS an end without close_notify, or after it, is no half-close: the upstream works for nobody."""
    upstream.on("/slow", answers.wait_for(upstream.gate(), answers.reply(200, b"never")))
    with outgate.tunnel("free.example:443") as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: free.example\r\n\r\n")
        upstream.record.wait(lambda record: len(record.requests) == 1)
    assert events_of(outgate, 1)[0]["end"] == "client_closed"


def test_a_listening_client_that_is_gone_is_noticed_when_it_is_written_to(
    outgate: Outgate, plain_upstream: Upstream
) -> None:
    async def endless(request: Received, wire: Wire) -> None:
        await wire.head(200, {"Transfer-Encoding": "chunked"})
        while True:
            await wire.chunk(b"x" * 10_000)

    plain_upstream.on("/endless", endless)
    client = outgate.client()
    client.send(b"GET http://plain.example/endless HTTP/1.1\r\nHost: plain.example\r\n\r\n")
    client.end()
    assert client.read_head().status == 200
    client.close()
    assert events_of(outgate, 1)[0]["end"] == "client_closed"


@pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n\r\n\r\n"], ids=repr)
def test_empty_lines_between_requests_are_ignored(outgate: Outgate, blank: bytes) -> None:
    with outgate.tunnel("free.example:443") as client:
        for number in range(20):
            client.send(blank + f"GET /{number} HTTP/1.1\r\nHost: free.example\r\n\r\n".encode())
            assert client.read().status == 200
    assert [event["end"] for event in events_of(outgate, 20)] == ["complete"] * 20


def test_empty_lines_without_end_are_no_request(outgate: Outgate) -> None:
    with outgate.client() as client:
        client.send(b"\r\n" * 3 + b"GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n" + b"\r\n" * 9)
        assert client.read().status == 200
        assert client.read().status == 400
        assert client.closed()
    assert [event["reason"] for event in events_of(outgate, 2)] == ["allowed", "malformed_request"]


# --- early answers ---

EARLY = {
    "length": b"Content-Length: 5\r\n\r\nnope!",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n5\r\nnope!\r\n0\r\n\r\n",
}
START = b"POST /early HTTP/1.1\r\nHost: free.example\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000


def early_answer(framing: str, *, closes: bool) -> Callable[[Received, Wire], Any]:
    async def answer(request: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 413 Too Large\r\n" + EARLY[framing])
        if closes:
            wire.close()
        else:
            await wire.body(request)

    return answer


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
@pytest.mark.parametrize("framing", EARLY)
def test_an_early_answer_ends_before_its_request(
    outgate: Outgate, upstream: Upstream, framing: str, closes: bool
) -> None:
    upstream.on("/early", early_answer(framing, closes=closes))
    with outgate.tunnel("free.example:443") as client:
        client.send(START)
        answer = client.read()
        assert (answer.status, answer.body, answer.complete) == (413, b"nope!", True)
        # The connection stays usable once the request is whole.
        client.send(b"x" * 99_000)
        assert client.request("GET", "/next", "free.example").status == 200
    assert [event["end"] for event in events_of(outgate, 2)] == ["complete", "complete"]


def early_over_http2(outgate: Outgate, host: str) -> tuple[int, bytes, str]:
    """Status and body of an answer to a POST that is never finished, and how its stream ended."""
    client = Client(outgate, host)
    client.h2.send_headers(1, fields("/early", method="POST", host=host), end_stream=False)
    client.h2.send_data(1, b"x" * 1000)
    client.socket.sendall(client.h2.data_to_send())
    status, body = 0, b""
    for event in client._events():
        if isinstance(event, ResponseReceived):
            status = int(dict(event.headers)[":status"])
        elif isinstance(event, DataReceived):
            body += event.data
        elif isinstance(event, StreamEnded | StreamReset):
            return status, body, type(event).__name__
    return status, body, "closed"


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
@pytest.mark.parametrize("framing", EARLY)
def test_an_early_answer_ends_over_http2_too(outgate: Outgate, upstream: Upstream, framing: str, closes: bool) -> None:
    upstream.on("/early", early_answer(framing, closes=closes))
    assert early_over_http2(outgate, "mixed.example") == (413, b"nope!", "StreamEnded")


def test_an_early_answer_from_http2_ends_too(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    h2_upstream.answers["/early"] = H2Answer(413, (), (b"nope!",), early=True)
    assert early_over_http2(outgate, "h2.example") == (413, b"nope!", "StreamEnded")


# --- framing ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_without_a_body_has_no_end_of_one(outgate: Outgate, upstream: Upstream, method: str) -> None:
    status = b"304 Not Modified" if method == "GET" else b"200 OK"
    upstream.on("/none", answers.raw(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
    with outgate.tunnel("free.example:443") as client:
        assert client.request(method, "/none", "free.example").header("transfer-encoding") is None
        assert client.request("GET", "/next", "free.example").body == b'{"ok": true}'


@pytest.mark.parametrize("host", ["free.example", "good.example"])
def test_a_client_of_http_1_0_gets_no_chunks(outgate: Outgate, upstream: Upstream, host: str) -> None:
    upstream.on("/chunked", answers.chunked([b"hello ", b"world"]))
    with outgate.tunnel(f"{host}:443") as client:
        client.send(f"GET /chunked HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer, _, body = client.read_to_end().partition(b"\r\n\r\n")
    assert body == b"hello world"
    assert b"transfer-encoding" not in answer.lower()


def test_a_body_until_close_keeps_the_clients_connection(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/old", answers.raw(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True))
    with outgate.tunnel("free.example:443") as client:
        for _ in range(2):
            answer = client.request("GET", "/old", "free.example")
            assert (answer.version, answer.body, answer.complete) == ("HTTP/1.1", b"all of it", True)
    assert [event["end"] for event in events_of(outgate, 2)] == ["complete", "complete"]


def how_it_ends(client: RawClient) -> str:
    """`end` for a proper end of the connection, `cut` for any other."""
    if isinstance(client._socket, ssl.SSLSocket):
        client._socket.suppress_ragged_eofs = False
    try:
        return "more" if client._socket.recv(1) else "end"
    except (ssl.SSLEOFError, ConnectionResetError):
        return "cut"


@pytest.mark.parametrize("path", ["tls", "plain"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_cut_body_until_close_does_not_look_whole(
    outgate: Outgate, upstream: Upstream, plain_upstream: Upstream, path: str, version: str
) -> None:
    server = upstream if path == "tls" else plain_upstream
    gate = server.gate()

    async def cut(request: Received, wire: Wire) -> None:
        await wire.head(200, {"Connection": "close"})
        await wire.send(b"half")
        await gate.wait()
        linger = b"\1\0\0\0\0\0\0\0"
        wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        wire.abort()

    server.on("/cut", cut)
    client, prefix, host = opened(outgate, path)
    with client:
        client.send(f"GET {prefix}/cut {version}\r\nHost: {host}\r\n\r\n".encode())
        assert client.read_head().status == 200
        if version == "HTTP/1.1":
            assert client.read_chunk() == b"half"
            gate.open()
            with pytest.raises(ClosedError):
                client.read_chunk()
        else:
            assert client.read_exactly(4) == b"half"
            gate.open()
            assert how_it_ends(client) == "cut"
    assert events_of(outgate, 1)[0]["end"] == "upstream_closed"


def test_a_body_until_the_end_of_tls_without_a_goodbye_is_cut(outgate: Outgate, upstream: Upstream) -> None:
    """RFC 9112 section 9.8; OpenSSL and curl do not take it for whole either."""
    gate = upstream.gate()

    async def cut(request: Received, wire: Wire) -> None:
        await wire.head(200, {"Connection": "close"})
        await wire.send(b"half")
        await gate.wait()
        wire.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    upstream.on("/cut", cut)
    with outgate.tunnel("free.example:443") as client:
        client.send(b"GET /cut HTTP/1.1\r\nHost: free.example\r\n\r\n")
        assert client.read_head().status == 200
        gate.open()
        assert client.read_chunk() == b"half"
        with pytest.raises(ClosedError):
            client.read_chunk()
    assert events_of(outgate, 1)[0]["end"] == "upstream_closed"


def test_a_whole_body_until_close_says_goodbye_to_an_old_client(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/whole", answers.until_close(b"whole"))
    with outgate.tunnel("free.example:443") as client:
        client.send(b"GET /whole HTTP/1.0\r\nHost: free.example\r\n\r\n")
        client.read_until(b"whole")
        assert how_it_ends(client) == "end"


def test_interim_answers_are_counted_for_each_request(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/hint", answers.early_hints(answers.reply(200, b"ok")))
    with outgate.tunnel("free.example:443") as client:
        for _ in range(40):
            assert client.request("GET", "/hint", "free.example").status == 200


def test_a_broken_coding_ends_its_stream_alone(outgate: Outgate, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/slow", answers.chunked([b"12345", gate, b"67890"]))
    upstream.on("/bad", answers.reply(200, b"hello, not gzip", {"Content-Encoding": "gzip"}))
    client = Client(outgate, "mixed.example")
    client.h2.send_headers(1, fields("/slow", host="mixed.example"), end_stream=True)
    client.socket.sendall(client.h2.data_to_send())
    upstream.record.wait(lambda record: len(record.requests) == 1)
    client.h2.send_headers(3, fields("/bad", host="mixed.example"), end_stream=True)
    client.socket.sendall(client.h2.data_to_send())
    body = b""
    for event in client._events():
        if isinstance(event, StreamReset):
            assert event.stream_id == 3
            gate.open()
        elif isinstance(event, DataReceived):
            body += event.data
        elif isinstance(event, StreamEnded):
            assert event.stream_id == 1
            break
    assert body == b"1234567890"
    ends = {event["path"]: event["end"] for event in events_of(outgate, 2)}
    assert ends == {"/bad": "upstream_closed", "/slow": "complete"}
