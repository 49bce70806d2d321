"""The harness shows exactly what came and sends exactly what it is told: upstream and raw client against each other."""

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient, head
from tests.support.upstream import Answer, Upstream

NAME = "api.example.com"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path) as server:
        yield server


@pytest.fixture
def client(upstream: Upstream) -> Iterator[RawClient]:
    with RawClient(("127.0.0.1", upstream.port)) as connection:
        connection.tls(NAME, upstream.ca_file)
        yield connection


def test_it_records_the_handshake_and_the_exact_bytes(upstream: Upstream, client: RawClient) -> None:
    sent = (
        b"POST /a?b=%20 HTTP/1.1\r\nhost:  "
        + NAME.encode()
        + b"\r\nX-Odd:\tone\r\nx-odd: two\r\nContent-Length: 3\r\n\r\nabc"
    )
    client.send(sent)
    answer = client.read()
    seen = upstream.record.last
    assert (answer.status, answer.json()) == (200, {"ok": True})
    assert bytes(upstream.record.connections[0].raw) == upstream.record.raw() == sent
    assert seen.raw_head == sent[:-3]
    assert (seen.method, seen.target, seen.version) == ("POST", "/a?b=%20", "HTTP/1.1")
    assert seen.values("X-ODD") == ["one", "two"]
    assert (seen.body, seen.complete) == (b"abc", True)
    assert (seen.connection.sni, seen.connection.alpn, seen.connection.tls) == (NAME, "http/1.1", True)


def test_it_sees_a_client_without_server_name_and_alpn(upstream: Upstream) -> None:
    with RawClient(("127.0.0.1", upstream.port)) as client:
        client.tls(None, alpn=())
        assert client.request("GET", "/", "x").status == 200
    assert (upstream.record.last.connection.sni, upstream.record.last.connection.alpn) == (None, None)


def test_a_connection_counts_before_its_handshake(upstream: Upstream) -> None:
    with RawClient(("127.0.0.1", upstream.port)):
        upstream.record.wait(lambda record: len(record.connections) == 1)
        assert not upstream.record.connections[0].tls
    upstream.record.wait(lambda record: record.connections[0].closed)
    assert upstream.record.requests == []


def test_the_certificate_is_good_for_the_asked_name_only(upstream: Upstream, tmp_path: Path) -> None:
    with RawClient(("127.0.0.1", upstream.port)) as client:
        client.tls("other.example.com", upstream.ca_file)
    stranger = Authority(tmp_path / "stranger")
    with RawClient(("127.0.0.1", upstream.port)) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.tls(NAME, stranger.ca_file)


@pytest.mark.parametrize(
    ("given", "message"), [({"names": ("x.example",)}, "mismatch"), ({"expired": True}, "expired")]
)
def test_a_certificate_can_be_wrong_on_purpose(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with (
        Upstream(tmp_path, **given) as server,  # type: ignore[arg-type]
        RawClient(("127.0.0.1", server.port)) as client,
        pytest.raises(ssl.SSLCertVerificationError, match=message),
    ):
        client.tls(NAME, server.ca_file)


def test_requests_on_one_connection_stay_on_it(upstream: Upstream, client: RawClient) -> None:
    for target in ("/1", "/2"):
        client.request("GET", target, NAME)
    assert len(upstream.record.connections) == 1
    assert [request.target for request in upstream.record.requests] == ["/1", "/2"]


def test_chunked_bodies_and_trailers_are_read(upstream: Upstream, client: RawClient) -> None:
    client.send(head("POST", "/", {"Host": NAME, "Transfer-Encoding": "chunked"}))
    client.send(b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert client.read().status == 200
    assert upstream.record.last.body == b"abcde"
    assert upstream.record.last.trailers == [("X-Sum", "5")]


def test_a_body_can_be_watched_as_it_arrives(upstream: Upstream, client: RawClient) -> None:
    client.send(head("POST", "/", {"Host": NAME, "Content-Length": "6"}) + b"abc")
    upstream.record.wait(lambda record: bool(record.requests) and record.requests[0].body == b"abc")
    assert not upstream.record.last.complete
    client.send(b"def")
    assert client.read().status == 200
    assert upstream.record.last.complete


def test_an_abandoned_body_is_noted(upstream: Upstream) -> None:
    with RawClient(("127.0.0.1", upstream.port)) as client:
        client.tls(NAME, upstream.ca_file)
        client.send(head("POST", "/", {"Host": NAME, "Content-Length": "6"}) + b"abc")
        upstream.record.wait(lambda record: bool(record.requests) and record.requests[0].body == b"abc")
        client.reset()
    upstream.record.wait(lambda record: record.connections[0].closed)
    assert upstream.record.connections[0].error
    assert not upstream.record.last.complete


def test_echo_says_what_arrived(upstream: Upstream, client: RawClient) -> None:
    upstream.on("/echo", answers.echo)
    told = client.request("PUT", "/echo?x", NAME, {"X-A": "b"}, b"body").json()
    assert (told["method"], told["target"], told["length"]) == ("PUT", "/echo?x", 4)
    assert ["X-A", "b"] in told["headers"]
    assert told["sha256"] == hashlib.sha256(b"body").hexdigest()


def test_a_stream_pauses_at_a_gate(upstream: Upstream, client: RawClient) -> None:
    gate = upstream.gate()
    upstream.on("/sse", answers.sse(["one", gate, "two"]))
    client.send(head("GET", "/sse", {"Host": NAME}))
    assert client.read_head().header("content-type") == "text/event-stream"
    assert client.read_chunk() == b"data: one\n\n"
    gate.open()
    assert client.read_chunk() == b"data: two\n\n"
    assert client.read_chunk() == b""


def test_trailers_and_early_hints(upstream: Upstream, client: RawClient) -> None:
    upstream.otherwise(answers.early_hints(answers.chunked([b"a", b"b"], trailers=[("X-End", "1")])))
    client.send(head("GET", "/", {"Host": NAME}))
    assert client.read_head().status == 103
    answer = client.read()
    assert (answer.body, answer.trailers) == (b"ab", [("X-End", "1")])


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (answers.cut(b"abc", 10), b"abc"),
        (answers.cut(b"abc", 10, reset=True), b"abc"),
        (answers.chunked([b"abc"], whole=False), b"abc"),
    ],
)
def test_a_body_can_end_in_the_middle(upstream: Upstream, client: RawClient, answer: Answer, body: bytes) -> None:
    upstream.otherwise(answer)
    cut = client.request("GET", "/", NAME)
    assert (cut.status, cut.body, cut.complete) == (200, body, False)


def test_other_endings(upstream: Upstream, client: RawClient) -> None:
    upstream.on("/rest", answers.until_close(b"all of it"))
    assert client.request("GET", "/rest", NAME).body == b"all of it"
    assert client.closed()


def test_silence_is_a_closed_connection(upstream: Upstream, client: RawClient) -> None:
    upstream.otherwise(answers.silence)
    with pytest.raises(ClosedError):
        client.request("GET", "/", NAME)


def test_huge_bodies_and_head(upstream: Upstream, client: RawClient) -> None:
    upstream.on("/big", answers.huge(3_000_001))
    upstream.on("/head", answers.reply(200, b"12345"))
    assert len(client.request("GET", "/big", NAME).body) == 3_000_001
    answer = client.request("HEAD", "/head", NAME)
    assert (answer.header("content-length"), answer.body) == ("5", b"")


def test_an_answer_can_come_before_the_body(upstream: Upstream, client: RawClient) -> None:
    upstream.otherwise(answers.before_body(413, b"too much"))
    client.send(head("POST", "/", {"Host": NAME, "Content-Length": "99999"}))
    assert client.read().status == 413


def test_exact_bytes_can_be_sent(upstream: Upstream, client: RawClient) -> None:
    upstream.otherwise(answers.raw(b"HTTP/1.1 200\r\nX:  y\r\nContent-Length: 0\r\n\r\n"))
    answer = client.request("GET", "/", NAME)
    assert (answer.status, answer.reason, answer.header("x")) == (200, "", "y")


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_websocket_frames_come_back(upstream: Upstream, client: RawClient, size: int) -> None:
    upstream.on("/ws", answers.websocket_echo)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    client.send(head("GET", "/ws", {"Host": NAME, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **upgrade}))
    answer = client.read_head()
    # The key and the answer to it are those of RFC 6455, section 1.3.
    assert (answer.status, answer.header("sec-websocket-accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    payload = b"z" * size
    client.send(answers.frame(2, payload, b"mask"))
    expected = answers.frame(2, payload)
    assert client.read_exactly(len(expected)) == expected
    client.send(answers.frame(8, b"", b"mask"))
    assert client.read_exactly(2) == answers.frame(8, b"")
    assert client.closed()


def test_plain_http_and_a_wait_that_fails(tmp_path: Path) -> None:
    with Upstream(tmp_path, tls=False) as server, RawClient(f"127.0.0.1:{server.port}") as client:
        assert client.request("GET", "/", "x").status == 200
        with pytest.raises(AssertionError, match="did not arrive"):
            server.record.wait(lambda record: len(record.requests) == 2, timeout=0.01)


def test_what_is_no_http_is_noted(upstream: Upstream, client: RawClient) -> None:
    client.send(b"rubbish\r\n\r\n")
    upstream.record.wait(lambda record: record.connections[0].closed)
    assert "ValueError" in upstream.record.connections[0].error
    assert upstream.record.raw() == b"rubbish\r\n\r\n"
