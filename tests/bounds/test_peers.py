"""What a peer may do over and over it may do so often: each that goes too far is cut off and on record, alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from hyperframe.frame import WindowUpdateFrame

from proxy import limits
from tests.bounds.attacked import World, attacked
from tests.bounds.test_memory import push
from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.upstream import Upstream

HOSTS = [f"{name}.many.example" for name in "abcdefghijklmnop"]
POLICY = """
version: 1
name: peers
allow:
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true}
  - {id: many, why: w, hosts: ["*.many.example"], access: any, schemes: [http, https]}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("plain"), tls=False) as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, plain: Upstream) -> Iterator[World]:
    also = {f"{host}:80": plain.port for host in HOSTS}
    with attacked(tmp_path_factory.mktemp("peers"), policy=POLICY, also=also) as world:
        yield world


def detail(world: World, text: str) -> dict[str, object]:
    """The event with that detail, once it is written."""
    found = world.proxy.wait_for_events(lambda events: any(event["detail"] == text for event in events))
    return next(event for event in found if event["detail"] == text)


def told_to_leave(client: Client) -> ErrorCodes | int | None:
    """The code with which the proxy ends an HTTP/2 connection."""
    while True:
        for event in client.received():
            if isinstance(event, ConnectionTerminated):
                return event.error_code


def test_a_frame_of_16_mib_is_refused_before_it_comes(world: World) -> None:
    client = Client(world.proxy, "h2.example")
    client.flush()
    client.socket.sendall(b"\xff\xff\xff\0\0\0\0\0\1")
    assert told_to_leave(client) == ErrorCodes.FRAME_SIZE_ERROR
    assert detail(world, "the HTTP/2 connection is malformed")["reason"] == "malformed_request"
    assert world.serves()


def test_frames_that_carry_nothing_end_their_connection(world: World) -> None:
    client = Client(world.proxy, "h2.example")
    assert client.ask(fields(host="h2.example")).status == 200
    push(client.socket, WindowUpdateFrame(0, window_increment=1).serialize() * 500, 1 << 20)
    assert detail(world, "too many frames that carry nothing")["reason"] == "limit_exceeded"
    assert world.serves()


def test_streams_that_a_client_makes_the_proxy_reset_end_its_connection(world: World) -> None:
    """CVE-2025-8671: the request is not whole, so that the proxy resets it, and its upstream has worked already."""
    client = Client(world.proxy, "h2.example")
    before = len(world.h2_upstream.record.requests)
    cut_short = fields(host="h2.example", method="POST", more=[("content-length", "5")])
    codes = [client.ask(cut_short, trailers=[("x-t", "1")]).code for _ in range(limits.MAX_HTTP2_RESETS + 1)]
    assert codes[:-1] == [ErrorCodes.PROTOCOL_ERROR] * limits.MAX_HTTP2_RESETS
    assert detail(world, "too many streams were reset")["reason"] == "limit_exceeded"
    assert len(world.h2_upstream.record.requests) - before <= limits.MAX_HTTP2_RESETS + 1
    assert world.serves()


def open_to(port: int) -> int:
    """How many connections of this machine are open to a port of 127.0.0.1."""
    there = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == there and row[3] == "01" for row in rows)


def test_one_client_keeps_a_few_upstream_connections(world: World, plain: Upstream) -> None:
    with world.proxy.client() as client:
        for host in HOSTS * 2:
            client.send(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.read().status == 200
        world.proxy.wait_until(lambda: 0 < open_to(plain.port) <= limits.MAX_IDLE_UPSTREAMS)


def test_a_tunnel_without_a_request_is_on_record(world: World) -> None:
    """As SDKs open them ahead of their first request: nothing was asked, and nothing refused."""
    before = len(world.upstream.record.connections)
    world.proxy.tunnel("free.example:443").close()
    event = detail(world, "nothing was asked")
    assert (event["verdict"], event["reason"], event["end"]) == ("allow", "allowed", "client_closed")
    assert (event["host"], event["method"], event["upstream_ip"]) == ("free.example", "CONNECT", None)
    assert len(world.upstream.record.connections) == before


def test_a_client_that_leaves_before_its_handshake_is_refused_on_record(world: World) -> None:
    with world.proxy.client() as client:
        assert client.connect("free.example:443").status == 200
    event = detail(world, "the client left before a request")
    assert (event["verdict"], event["host"], event["method"]) == ("deny", "free.example", "CONNECT")


@pytest.mark.parametrize("target", ["free.example", HOSTS[0]])
def test_a_broken_chunk_is_refused(world: World, target: str) -> None:
    begin = f"POST http://{target}/broken HTTP/1.1" if target in HOSTS else "POST /broken HTTP/1.1"
    head = f"{begin}\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with world.proxy.client() if target in HOSTS else world.proxy.tunnel(f"{target}:443") as client:
        client.send(head.encode() + b"zz\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        answer = client.read("POST")
        assert (answer.status, answer.json()["reason"]) == (400, "malformed_request")
        assert client.closed()
    events = world.proxy.wait_for_events(lambda found: any(event["host"] == target for event in found))
    assert [(event["path"], event["reason"], event["end"]) for event in events if event["host"] == target][-1:] == [
        ("/broken", "malformed_request", "refused")
    ]
    assert "failed" not in world.proxy.stderr


STATUS_LINES = [
    b"HTTP/1.1 200 \x1b[31mOK",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 O\0K",
    b"HTTP/1.1 +200 OK",
    b"HTTP/1.1 2_00 OK",
    b"HTTP/1.1 0200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/1.1.1 200 OK",
    b"ICY 200 OK",
]


def test_an_odd_status_line_is_no_answer(world: World) -> None:
    for number, line in enumerate(STATUS_LINES):
        world.upstream.on(f"/odd{number}", answers.raw(line + b"\r\nContent-Length: 2\r\n\r\nok"))
        with world.proxy.tunnel("free.example:443") as client:
            answer = client.request("GET", f"/odd{number}", "free.example")
            assert (answer.status, answer.json()["reason"]) == (502, "upstream_unreachable"), line
    for number, line in enumerate((b"HTTP/1.1 200", b"HTTP/1.0 200 ", b"HTTP/1.1 200 d\xe9j\xe0 vu")):
        world.upstream.on(f"/even{number}", answers.raw(line + b"\r\nContent-Length: 2\r\n\r\nok"))
        with world.proxy.tunnel("free.example:443") as client:
            assert client.request("GET", f"/even{number}", "free.example").status == 200, line
