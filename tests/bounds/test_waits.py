"""What could wait for ever does not: a client that stops in any phase is cut, and many of them are as one."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.peer import left
from tests.bounds.attacked import MIB, World, attacked
from tests.bounds.test_memory import push
from tests.e2e.test_bounds import hello
from tests.e2e.test_http2 import Client
from tests.support.rawclient import RawClient
from tests.support.record import Received
from tests.support.wire import Wire

HEAD_TIME = 1.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with attacked(tmp_path, {"HEAD_TIME": HEAD_TIME, "QUIET_TIME": 1.0}) as world:
        yield world


def nothing(world: World) -> RawClient:
    return world.proxy.client()


def in_the_first_head(world: World) -> RawClient:
    client = world.proxy.client()
    client.send(b"CONNECT good.example:443 HTTP/1.1\r\nHost: go")
    return client


def after_connect(world: World) -> RawClient:
    client = world.proxy.client()
    assert client.connect("good.example:443").status == 200
    return client


def in_the_hello(world: World) -> RawClient:
    client = after_connect(world)
    client.send(hello(b"good.example")[:40])
    return client


def in_the_hello_of_a_tunnel(world: World) -> RawClient:
    client = world.proxy.client()
    assert client.connect("pinned.example:443").status == 200
    client.send(hello(b"pinned.example")[:40])
    return client


def after_the_handshake(world: World) -> RawClient:
    return world.proxy.tunnel("free.example:443")


def in_the_request_head(world: World) -> RawClient:
    client = world.proxy.tunnel("free.example:443")
    client.send(b"GET / HTTP/1.1\r\nHost: fr")
    return client


def in_the_second_head(world: World) -> RawClient:
    client = world.proxy.tunnel("free.example:443")
    assert client.request("GET", "/", "free.example").status == 200
    client.send(b"GET / HTTP/1.1\r\nHo")
    return client


def between_requests(world: World) -> RawClient:
    client = world.proxy.tunnel("free.example:443")
    assert client.request("GET", "/", "free.example").status == 200
    return client


def in_an_http2_head(world: World) -> RawClient:
    client = Client(world.proxy, "h2.example")
    client.socket.sendall(client.h2.data_to_send() + b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82")
    return client.raw


def after_the_http2_preface(world: World) -> RawClient:
    client = Client(world.proxy, "h2.example")
    client.socket.sendall(client.h2.data_to_send())
    return client.raw


def in_a_refused_body(world: World) -> RawClient:
    client = world.proxy.tunnel("evil.example:443")
    client.send(b"PUT / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\nx")
    return client


def after_the_connect_of_a_tunnel(world: World) -> RawClient:
    client = world.proxy.client()
    assert client.connect("pinned.example:443").status == 200
    return client


PHASES = [
    nothing,
    in_the_first_head,
    after_connect,
    in_the_hello,
    after_the_connect_of_a_tunnel,
    in_the_hello_of_a_tunnel,
    after_the_handshake,
    in_the_request_head,
    in_the_second_head,
    between_requests,
    in_an_http2_head,
    after_the_http2_preface,
    in_a_refused_body,
]


def test_a_client_that_stops_in_any_phase_is_cut(world: World) -> None:
    with ExitStack() as opened:
        clients = {phase.__name__: opened.enter_context(phase(world)) for phase in PHASES}
        for name, client in clients.items():
            try:
                client.read_to_end()
            except ConnectionError:
                pass
            except TimeoutError as error:
                raise AssertionError(name) from error
    assert world.serves()


def test_a_server_that_never_greets_is_given_up(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        attacked(
            tmp_path, {"DIAL_TIME": 1.0, "HEAD_TIME": 1.0, "QUIET_TIME": 1.0}, {"free.example:443": mute}
        ) as world,
        world.proxy.tunnel("free.example:443") as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: free.example\r\n\r\n")
        assert client.read().json()["reason"] == "upstream_unreachable"
        (event,) = world.proxy.wait_for_events(lambda found: len(found) == 1)
        assert (event["reason"], event["end"], event["status"]) == ("upstream_unreachable", "refused", 502)


def test_a_client_that_leaves_while_its_upload_is_stalled_is_noticed(tmp_path: Path) -> None:
    """Nothing is read from it by then, as the upstream takes nothing."""
    with attacked(tmp_path) as world:
        gate = world.upstream.gate()

        async def deaf(_: Received, __: Wire) -> None:
            await gate.wait()

        world.upstream.on("/deaf", deaf)
        with world.proxy.tunnel("free.example:443") as client:
            client.send(b"PUT /deaf HTTP/1.1\r\nHost: free.example\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
            assert push(client, bytes(MIB), 256 * MIB) < 256 * MIB
            client.reset()
            events = world.proxy.wait_for_events(lambda found: any(event["path"] == "/deaf" for event in found))
        assert [event["end"] for event in events if event["path"] == "/deaf"] == ["client_closed"]
        gate.open()


def test_an_end_counts_when_what_came_before_it_is_stalled_and_a_reset_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            client.sendall(b"not read")
            assert [left(peer, stalled=stalled) for stalled in (False, True)] == [False, False]
            client.shutdown(socket.SHUT_WR)
            assert [left(peer, stalled=stalled) for stalled in (False, True)] == [False, True]
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            assert [left(peer, stalled=stalled) for stalled in (False, True)] == [True, True]
    assert not left(peer, stalled=True), "what is closed here is nobody's any more"


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_idle_connections_are_turned_away_and_forgotten(tmp_path: Path, count: int) -> None:
    limit, head_time = (4096, 30.0) if count > 4096 else (200, 8.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with attacked(tmp_path, {"MAX_CLIENTS": limit, "HEAD_TIME": head_time}) as world:
            peak, cpu = world.peak(), world.cpu()
            host, _, port = world.proxy.address.partition(":")
            idle = [socket.create_connection((host, int(port)), 10) for _ in range(count)]
            beyond = idle[limit:]
            assert _ended(beyond, head_time / 2) == len(beyond), "those beyond the limit are turned away at once"
            grown, spent = world.peak() - peak, world.cpu() - cpu
            print(f"\nMEASURED {count} idle: {grown / MIB:.1f} MiB, {spent:.2f} s")  # noqa: T201
            assert grown < limit * 64 * 1024 + 48 * MIB
            assert _ended(idle[:limit], head_time * 3) == limit, "the others are cut when their time is over"
            assert world.serves()
            for sock in idle:
                sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _ended(socks: list[socket.socket], seconds: float) -> int:
    """How many of these the other side has closed, after so many seconds at most."""
    deadline, ended = time.monotonic() + seconds, 0
    for sock in socks:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            ended += sock.recv(1) == b""
        except ConnectionError:
            ended += 1
        except TimeoutError:
            continue
    return ended
