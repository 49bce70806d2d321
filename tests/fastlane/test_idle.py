"""A client that connects ahead of its first request is not one that takes too long for it. The same on both lanes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.e2e.test_bounds import hello
from tests.e2e.test_http2 import Client
from tests.faults.faulty import Faulty
from tests.support.rawclient import RawClient

POLICY = """
version: 1
name: idle
allow:
  - {id: all, why: w, hosts: ["*.good.example"], access: any}
  - {id: h2, why: w, hosts: ["*.h2.example"], access: any, http2: true}
"""
type Phase = Callable[[Faulty, str], RawClient]


@pytest.fixture(scope="module", params=["fast", "other"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    limits = {"HEAD_TIME": 2.0, "QUIET_TIME": 3.5}
    with Faulty(tmp_path_factory.mktemp("idle"), POLICY, lane=request.param, limits=limits) as it:
        yield it


def inside_http2(proxy: Faulty, name: str, begun: bytes) -> RawClient:
    client = Client(proxy, f"{name}.h2.example")
    client.flush()
    client.socket.sendall(begun)
    return client.raw


def after_the_handshake(proxy: Faulty, name: str) -> RawClient:
    return proxy.tunnel(f"{name}.good.example:443")


def after_an_empty_line(proxy: Faulty, name: str) -> RawClient:
    client = proxy.tunnel(f"{name}.good.example:443")
    client.send(b"\r\n")
    return client


def after_the_http2_preface(proxy: Faulty, name: str) -> RawClient:
    return inside_http2(proxy, name, b"")


def in_the_hello(proxy: Faulty, name: str) -> RawClient:
    client = proxy.client()
    assert client.connect(f"{name}.good.example:443").status == 200
    client.send(hello(b"x")[:40])
    return client


def in_the_first_head(proxy: Faulty, name: str) -> RawClient:
    client = proxy.tunnel(f"{name}.good.example:443")
    client.send(b"G")
    return client


def in_an_http2_frame(proxy: Faulty, name: str) -> RawClient:
    return inside_http2(proxy, name, b"\0\0\x40\1\5")


def in_an_http2_head(proxy: Faulty, name: str) -> RawClient:
    return inside_http2(proxy, name, b"\0\0\1\1\1\0\0\0\1\x82")


IDLE: list[Phase] = [after_the_handshake, after_an_empty_line, after_the_http2_preface]
BEGUN: list[Phase] = [in_the_hello, in_the_first_head, in_an_http2_frame, in_an_http2_head]


def event_of(proxy: Faulty, name: str) -> dict[str, Any]:
    """The one event about a host of that name."""

    def mine(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in events if (event["host"] or "").startswith(f"{name}.")]

    (event,) = mine(proxy.wait_for_events(lambda events: bool(mine(events)), 20.0))
    return event


def test_who_asks_nothing_is_let_go_in_peace_and_who_begins_and_stops_is_refused(proxy: Faulty) -> None:
    names = {phase: phase.__name__.replace("_", "-") for phase in IDLE + BEGUN}
    with ExitStack() as opened:
        clients = {phase: opened.enter_context(phase(proxy, name)) for phase, name in names.items()}
        for client in clients.values():
            with suppress(ConnectionError):
                client.read_to_end()
        for phase, name in names.items():
            event = event_of(proxy, name)
            found = (event["verdict"], event["reason"], event["end"], event["detail"], event["method"])
            if phase in IDLE:
                assert found == ("allow", "allowed", "aborted", "nothing was asked", "CONNECT"), name
            else:
                slow = "the client took too long to send a request"
                assert found == ("deny", "limit_exceeded", "aborted", slow, "CONNECT"), name
            assert (event["upstream_ip"], event["bytes_in"], event["bytes_out"]) == (None, 0, 0)


@pytest.mark.parametrize("phase", IDLE, ids=lambda phase: phase.__name__)
def test_who_leaves_before_it_asks_was_refused_nothing(proxy: Faulty, phase: Phase) -> None:
    name = f"left-{phase.__name__.replace('_', '-')}"
    phase(proxy, name).close()
    event = event_of(proxy, name)
    found = (event["verdict"], event["reason"], event["end"], event["detail"], event["method"])
    assert found == ("allow", "allowed", "client_closed", "nothing was asked", "CONNECT")


def test_a_server_name_of_another_host_is_refused_though_nothing_was_asked(proxy: Faulty) -> None:
    with proxy.client() as client:
        assert client.connect("named.good.example:443").status == 200
        client.tls("other.good.example")
    event = event_of(proxy, "named")
    assert (event["verdict"], event["reason"]) == ("deny", "authority_mismatch")
