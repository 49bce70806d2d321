"""What HTTP clients rely on survives the proxy, and nothing that was cut looks whole.

What the main job, the HTTP/2 tests and the bounds show already is not shown again here.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.events import DataReceived, ResponseReceived, StreamEnded

from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.rawclient import Answer, ClosedError, RawClient, head
from tests.support.record import Received
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Answer, H2Upstream
from tests.support.wire import Wire

SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: semantics
allow:
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: key, why: w, hosts: [key.example], access: any, credential: key}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true}
  - {id: mixed, why: w, hosts: [mixed.example], access: any, http2: true}
credentials:
  key: {from: "env:KEY", hosts: [key.example], inject: {bearer: true}}
"""
HOSTS = ["free.example", "key.example"]

type Start = Callable[..., Outgate]


_numbers = itertools.count()


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("upstream"), authority=authority) as server:
        yield server


@pytest.fixture(scope="module")
def h2_upstream(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[H2Upstream]:
    with H2Upstream(tmp_path_factory.mktemp("h2"), authority=authority) as server:
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, h2_upstream: H2Upstream) -> Iterator[Outgate]:
    """One proxy for all cases: they must not disturb each other either."""
    mapping = {f"{host}.example:443": upstream.port for host in ("free", "key", "mixed")}
    mapping["h2.example:443"] = h2_upstream.port
    folder = tmp_path_factory.mktemp("outgate")
    with Outgate(folder, POLICY, mapping, (upstream.ca_file,), {"KEY": SECRET}) as proxy:
        yield proxy


@pytest.fixture
def path() -> str:
    """A path that no other case asks for."""
    return f"/case-{next(_numbers)}"


def one_event(outgate: Outgate, path: str) -> dict[str, Any]:
    (event,) = [
        event
        for event in outgate.wait_for_events(lambda found: any(event["path"] == path for event in found))
        if event["path"] == path
    ]
    return dict(event)


@pytest.mark.parametrize("host", HOSTS)
def test_a_chunked_body_arrives_whole_in_both_directions(
    outgate: Outgate, upstream: Upstream, host: str, path: str
) -> None:
    parts = [b"a" * 10, b"b" * 70_000, b"c"]
    upstream.on(path, answers.chunked(parts))
    with outgate.tunnel(f"{host}:443") as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for part in parts:
            client.send(b"%x;an=extension\r\n%b\r\n" % (len(part), part))
        client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        answer = client.read()
        assert (answer.status, answer.body, answer.complete) == (200, b"".join(parts), True)
        assert client.request("GET", "/again", host).status == 200, "the connection is still in step"
    assert of(upstream, path)[0].body == b"".join(parts)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("length", [b"Content-Length: 1234\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_head_keeps_the_headers_and_has_no_body(
    outgate: Outgate, upstream: Upstream, host: str, length: bytes, path: str
) -> None:
    upstream.on(path, answers.raw(b"HTTP/1.1 200 OK\r\n" + length + b"ETag: x\r\n\r\n"))
    with outgate.tunnel(f"{host}:443") as client:
        answer = client.request("HEAD", path, host)
        assert (answer.status, answer.header("etag"), answer.body) == (200, "x", b"")
        assert answer.header("content-length") == ("1234" if b"1234" in length else None)
        assert client.request("GET", "/again", host).status == 200, "the connection is still in step"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_ends_with_its_head(
    outgate: Outgate, upstream: Upstream, host: str, status: int, path: str
) -> None:
    upstream.on(path, answers.raw(b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status))
    with outgate.tunnel(f"{host}:443") as client:
        answer = client.request("GET", path, host)
        assert (answer.status, answer.header("etag"), answer.body) == (status, "x", b"")
        assert client.request("GET", "/again", host).status == 200, "the connection is still in step"


def test_an_empty_chunked_body_is_an_empty_body(outgate: Outgate, upstream: Upstream, path: str) -> None:
    upstream.on(path, answers.chunked([]))
    with outgate.tunnel("key.example:443") as client:
        answer = client.request("GET", path, "key.example")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


def test_a_range_is_answered_in_part(outgate: Outgate, upstream: Upstream, path: str) -> None:
    upstream.on(path, answers.reply(206, b"part", {"Content-Range": "bytes 0-3/10", "Accept-Ranges": "bytes"}))
    with outgate.tunnel("free.example:443") as client:
        answer = client.request("GET", path, "free.example", {"Range": "bytes=0-3"})
    assert (answer.status, answer.body, answer.header("content-range")) == (206, b"part", "bytes 0-3/10")


def test_large_headers_pass_in_both_directions(outgate: Outgate, upstream: Upstream, path: str) -> None:
    large = {f"X-{number}": "y" * 1000 for number in range(40)}
    upstream.on(path, answers.reply(200, b"ok", large))
    with outgate.tunnel("free.example:443") as client:
        answer = client.request("GET", path, "free.example", large)
    assert answer.header("x-39") == "y" * 1000
    assert upstream.record.last.values("x-39") == ["y" * 1000]


def test_repeated_fields_stay_apart_and_in_order(outgate: Outgate, upstream: Upstream, path: str) -> None:
    upstream.on(
        path, answers.raw(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
    )
    with outgate.tunnel("free.example:443") as client:
        answer = client.request("GET", path, "free.example")
    assert [value for name, value in answer.headers if name.lower() == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("number", [1, 3])
def test_interim_answers_are_over_before_the_final_one(
    outgate: Outgate, upstream: Upstream, number: int, path: str
) -> None:
    hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * number
    upstream.on(path, answers.raw(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    with outgate.tunnel("free.example:443") as client:
        answer = client.request("GET", path, "free.example")
    assert (answer.status, answer.body) == (200, b"ok")


def test_an_upload_that_waits_for_100_continue_is_not_sent_twice(
    outgate: Outgate, upstream: Upstream, path: str
) -> None:
    async def invites(request: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await answers.reply(201, b"made")(request, wire)

    upstream.on(path, invites)
    with outgate.tunnel("free.example:443") as client:
        client.send(head("PUT", path, {"Host": "free.example", "Content-Length": "4", "Expect": "100-continue"}))
        assert client.read_head().status == 100
        client.send(b"body")
        answer = client.read()
    assert (answer.status, answer.body) == (201, b"made")
    assert [request.body for request in of(upstream, path)] == [b"body"]


CUT = {
    "sized": answers.cut(b"half", 100),
    "sized, reset": answers.cut(b"half", 100, reset=True),
    "chunked": answers.chunked([b"half"], whole=False),
    "in a chunk": answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", close=True),
    "in a chunk's size": answers.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n6", close=True
    ),
    "before the trailers end": answers.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: y\r\n", close=True
    ),
    "a chunk that is none": answers.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("case", CUT)
def test_a_body_that_was_cut_is_never_whole(
    outgate: Outgate, upstream: Upstream, host: str, case: str, path: str
) -> None:
    upstream.on(path, CUT[case])
    with outgate.tunnel(f"{host}:443") as client:
        assert whole(client, host, path) is None
    event = one_event(outgate, path)
    assert event["end"] in ("upstream_closed", "refused"), event


def of(upstream: Upstream, path: str) -> list[Received]:
    """The requests for a path that arrived."""
    return [request for request in upstream.record.requests if request.target == path]


def whole(client: RawClient, host: str, path: str) -> Answer | None:
    """The answer, if it is one that a client takes for whole and that is no refusal."""
    try:
        answer = client.request("GET", path, host)
    except ClosedError:
        return None
    return answer if answer.complete and answer.header("proxy-status") is None else None


@pytest.mark.parametrize("host", ["h2.example", "mixed.example"])
def test_a_body_that_was_cut_is_never_whole_over_http2(
    outgate: Outgate, upstream: Upstream, h2_upstream: H2Upstream, host: str, path: str
) -> None:
    upstream.on(path, answers.cut(b"half", 100))
    h2_upstream.answers[path] = H2Answer(headers=(("content-length", "100"),), parts=(b"half",))
    reply = Client(outgate, host).ask(fields(path, host=host))
    assert reply.closed or reply.status == 502


def test_a_body_until_close_is_whole_at_the_close(outgate: Outgate, upstream: Upstream, path: str) -> None:
    upstream.on(path, answers.until_close(b"all of it"))
    with outgate.tunnel("free.example:443") as client:
        answer = client.request("GET", path, "free.example")
    assert (answer.body, answer.complete) == (b"all of it", True)


def test_a_body_until_close_that_is_reset_is_cut(outgate: Outgate, upstream: Upstream, path: str) -> None:
    """Only the end of the connection ends it. TLS says whether that end was meant (RFC 9112 section 9.8)."""

    async def cut(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(200, {"Connection": "close"})
        await wire.send(b"half")
        wire.abort()

    upstream.on(path, cut)
    with outgate.tunnel("free.example:443") as client:
        client.send(head("GET", path, {"Host": "free.example"}))
        client.read_to_end()
    assert one_event(outgate, path)["end"] == "upstream_closed"


def test_pings_and_closes_of_a_websocket_pass_in_both_directions(
    outgate: Outgate, upstream: Upstream, path: str
) -> None:
    upstream.on(path, answers.websocket(lambda message: [message, b"and more"]))
    with outgate.tunnel("free.example:443") as client:
        client.send(
            f"GET {path} HTTP/1.1\r\nHost: free.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert client.read_head().status == 101
        client.send(answers.frame(9, b"are you there", b"mask"))
        assert client.read_exactly(15) == answers.frame(10, b"are you there")
        client.send(answers.frame(1, b"text", b"mask"))
        assert client.read_exactly(6 + 10) == answers.frame(1, b"text") + answers.frame(1, b"and more")
        client.send(answers.frame(8, b"\x03\xe8bye", b"mask"))
        assert client.read_exactly(7) == answers.frame(8, b"\x03\xe8bye")
        assert client.closed()
    assert one_event(outgate, path)["end"] in ("upstream_closed", "client_closed")


@pytest.mark.parametrize("host", HOSTS)
def test_a_long_stream_arrives_event_by_event(outgate: Outgate, upstream: Upstream, host: str, path: str) -> None:
    """Each event is read before the next is made: nothing on the way waits for more."""
    gates = [upstream.gate() for _ in range(50)]
    parts = [part for number, gate in enumerate(gates) for part in (f"event {number}", gate)]
    upstream.on(path, answers.sse(parts))
    with outgate.tunnel(f"{host}:443") as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        assert client.read_head().header("content-type") == "text/event-stream"
        for number, gate in enumerate(gates):
            assert client.read_chunk() == f"data: event {number}\n\n".encode()
            gate.open()
        assert client.read_chunk() == b""
    assert one_event(outgate, path)["end"] == "complete"


def test_grpc_streams_both_ways_before_either_ends(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.answers["/pkg.Service/Method"] = H2Answer(
        headers=(("content-type", "application/grpc"),),
        parts=(b"\0\0\0\0\x01a", gate, b"\0\0\0\0\x01b"),
        trailers=(("grpc-status", "0"), ("grpc-message", "fine")),
        early=True,
    )
    client = Client(outgate, "h2.example")
    stream = client.h2.get_next_available_stream_id()
    more = [("content-type", "application/grpc"), ("te", "trailers")]
    client.h2.send_headers(stream, fields("/pkg.Service/Method", method="POST", host="h2.example", more=more))
    client.h2.send_data(stream, b"\0\0\0\0\x01q")
    client.socket.sendall(client.h2.data_to_send())
    seen = b""
    for event in client._events():
        if isinstance(event, DataReceived):
            seen += event.data
        if seen == b"\0\0\0\0\x01a":
            break
    h2_upstream.record.wait(lambda record: record.requests[-1].body == b"\0\0\0\0\x01q")
    client.h2.send_data(stream, b"\0\0\0\0\x01r", end_stream=True)
    client.socket.sendall(client.h2.data_to_send())
    gate.open()
    trailers: dict[str, str] = {}
    for event in client._events():
        if isinstance(event, DataReceived):
            seen += event.data
        if isinstance(event, StreamEnded):
            break
        if hasattr(event, "headers") and not isinstance(event, ResponseReceived):
            trailers |= {str(name): str(value) for name, value in event.headers}
    assert seen == b"\0\0\0\0\x01a\0\0\0\0\x01b"
    assert trailers == {"grpc-status": "0", "grpc-message": "fine"}
    h2_upstream.record.wait(lambda record: record.last.body == b"\0\0\0\0\x01q\0\0\0\0\x01r")


def test_requests_share_a_connection_and_come_back_to_their_own_streams(
    outgate: Outgate, h2_upstream: H2Upstream
) -> None:
    client = Client(outgate, "h2.example")
    for number in range(5):
        h2_upstream.answers[f"/{number}"] = H2Answer(parts=(f"answer {number}".encode(),))
        assert client.ask(fields(f"/{number}", host="h2.example")).body == f"answer {number}".encode()
    assert len({id(request.connection) for request in h2_upstream.record.requests[-5:]}) == 1


def test_a_client_that_has_said_all_still_gets_its_answer(
    start_outgate: Start, plain_upstream: Upstream, path: str
) -> None:
    """Half-closed: nothing more comes from the client, and its answer is not lost by that."""
    outgate = start_outgate(
        POLICY.replace("hosts: [free.example], access: any", "hosts: [free.example], access: any, schemes: [http]"),
        connect_to={"free.example:80": plain_upstream.port},
        environ={"KEY": SECRET},
    )
    gate = plain_upstream.gate()
    plain_upstream.on(path, answers.wait_for(gate, answers.reply(200, b"late")))
    with outgate.client() as client:
        client.send(head("GET", f"http://free.example{path}", {"Host": "free.example"}))
        plain_upstream.record.wait(lambda record: len(record.requests) == 1)
        client.end()
        gate.open()
        try:
            answer = client.read()
        except ClosedError:
            answer = None
    event = one_event(outgate, path)
    if answer is None:
        assert event["end"] == "client_closed", "it is cut, and the record says so"
    else:
        assert (answer.body, event["end"]) == (b"late", "complete")


def test_keep_alive_is_refused_to_whoever_asks_for_the_end(outgate: Outgate, path: str) -> None:
    with outgate.tunnel("free.example:443") as client:
        assert client.request("GET", path, "free.example", {"Connection": "close"}).status == 200
        assert client.closed()


def test_a_stale_kept_connection_is_not_an_error_for_the_next_request(outgate: Outgate, upstream: Upstream) -> None:
    async def leaves(request: Received, wire: Wire) -> None:
        await answers.reply(200, b"first")(request, wire)
        wire.close()

    upstream.on("/first", leaves)
    with outgate.tunnel("free.example:443") as client:
        assert client.request("GET", "/first", "free.example").body == b"first"
        upstream.record.wait(lambda record: record.last.connection.closed)
        assert client.request("GET", "/second", "free.example").status in (200, 502)
        assert client.request("GET", "/third", "free.example").status == 200
