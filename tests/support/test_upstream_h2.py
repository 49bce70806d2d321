"""The HTTP/2 upstream, against a client made of the `h2` library."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, TrailersReceived

from tests.support.rawclient import RawClient
from tests.support.upstream_h2 import H2Answer, H2Upstream

GET = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "api.example.com")]


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[H2Upstream]:
    with H2Upstream(tmp_path) as server:
        yield server


class Client:
    """One HTTP/2 connection; events are kept as they come."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.h2 = H2Connection(H2Configuration())
        self.h2.initiate_connection()
        self.events: list[Event] = []

    def until(self, done: Callable[["Client"], bool]) -> None:
        self.sock.sendall(self.h2.data_to_send())
        while not done(self):
            data = self.sock.recv(65536)
            assert data, "the upstream closed"
            for event in self.h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.sock.sendall(self.h2.data_to_send())

    def of[E: Event](self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def ended(self) -> bool:
        return bool(self.of(StreamEnded))

    def body(self) -> bytes:
        return b"".join(event.data for event in self.of(DataReceived))


@pytest.fixture
def client(upstream: H2Upstream) -> Iterator[Client]:
    with RawClient(("127.0.0.1", upstream.port)) as raw:
        sock = raw.tls("api.example.com", upstream.ca_file, ("h2", "http/1.1"))
        assert sock.selected_alpn_protocol() == "h2"
        yield Client(sock)


def test_a_request_is_recorded_and_answered(upstream: H2Upstream, client: Client) -> None:
    client.h2.send_headers(1, [*GET, ("x-a", "b")])
    client.h2.send_data(1, b"body", end_stream=True)
    client.until(Client.ended)
    seen = upstream.record.last
    assert client.body() == b"ok"
    assert (seen.method, seen.target, seen.version, seen.body) == ("GET", "/", "HTTP/2", b"body")
    assert seen.header(":authority") == "api.example.com"
    assert seen.header("x-a") == "b"
    assert (seen.connection.alpn, seen.connection.sni) == ("h2", "api.example.com")


def test_large_bodies_pass_both_ways(upstream: H2Upstream, client: Client) -> None:
    upstream.answers["/"] = H2Answer(parts=(b"z" * 200_000,))
    client.h2.send_headers(1, GET, end_stream=True)
    client.until(Client.ended)
    assert client.body() == b"z" * 200_000


def test_grpc_streams_both_ways_with_trailers(upstream: H2Upstream, client: Client) -> None:
    gate = upstream.gate()
    headers = (("content-type", "application/grpc"),)
    upstream.answers["/"] = H2Answer(
        headers=headers, parts=(b"1", gate, b"2"), trailers=(("grpc-status", "0"),), early=True
    )
    client.h2.send_headers(1, GET)
    client.until(lambda client: client.body() == b"1")
    client.h2.send_data(1, b"more", end_stream=True)
    gate.open()
    client.until(Client.ended)
    assert client.body() == b"12"
    (trailers,) = client.of(TrailersReceived)
    assert [(pair[0], pair[1]) for pair in trailers.headers or []] == [(b"grpc-status", b"0")]
    assert len(client.of(ResponseReceived)) == 1
    upstream.record.wait(lambda record: record.requests[0].complete)
    assert upstream.record.last.body == b"more"
