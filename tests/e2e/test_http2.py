"""HTTP/2, where a rule asks for it: the same gate, and nothing around the head slips past it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.support.outgate import Outgate
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Answer, H2Upstream

SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: h2
allow:
  - {id: good, why: w, hosts: [good.example], access: any, http2: true, credential: key, paths: ["/**"]}
  - {id: old, why: w, hosts: [old.example], access: any, http2: true}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {header: x-api-key}}
"""

type Start = Callable[..., Outgate]
type Fields = list[tuple[str, str]]


@pytest.fixture
def outgate(start_outgate: Start, h2_upstream: H2Upstream, upstream: Upstream) -> Outgate:
    mapping = {"good.example:443": h2_upstream.port, "old.example:443": upstream.port}
    return start_outgate(POLICY, connect_to=mapping, environ={"KEY": SECRET})


@dataclass
class Reply:
    """What came back on one stream; `closed` if it was reset (with `code`), or the connection ended, before its end."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    ended: bool = False
    code: int | None = None


class Client:
    """An HTTP/2 client that sends whatever it is told to, checked by nobody."""

    def __init__(self, outgate: Outgate, host: str) -> None:
        self.raw = outgate.client()
        assert self.raw.connect(f"{host}:443").status == 200
        self.socket = self.raw.tls(host, ca_file=outgate.ca_file, alpn=("h2",))
        assert self.socket.selected_alpn_protocol() == "h2"
        config = H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.h2 = H2Connection(config)
        self.h2.initiate_connection()
        self.replies: dict[int, Reply] = {}

    def ask(self, fields: Fields, body: bytes = b"", trailers: Fields | None = None) -> Reply:
        stream = self.start(fields, end=not body and not trailers)
        if body:
            self.h2.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()
        return self.wait(stream)

    def start(self, fields: Fields, *, end: bool = True) -> int:
        """Send a head, and return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def wait(self, stream: int, *, body: bytes | None = None) -> Reply:
        """The reply on a stream, read to its end or until its body is `body`."""
        reply = self.replies.setdefault(stream, Reply())
        while not reply.ended and not reply.closed and (body is None or reply.body != body):
            self._read()
        return reply

    def _read(self) -> None:
        for event in self.received():
            if stream := getattr(event, "stream_id", None):
                _apply(self.replies.setdefault(stream, Reply()), event)
            if isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, ConnectionTerminated):
                break
        else:
            return
        for reply in self.replies.values():
            reply.closed = not reply.ended

    def received(self) -> list[Event]:
        """What comes next; a connection that is cut counts as terminated."""
        try:
            data = self.socket.recv(65536)
            if not data:
                return [ConnectionTerminated()]
            events = self.h2.receive_data(data)
            self.flush()
        except OSError:
            return [ConnectionTerminated()]
        return events

    def _events(self) -> Iterator[Event]:
        while True:
            events = self.received()
            yield from events
            if any(isinstance(event, ConnectionTerminated) for event in events):
                return


def _apply(reply: Reply, event: Event) -> None:
    if isinstance(event, ResponseReceived):
        reply.headers = {str(name): str(value) for name, value in event.headers}
        reply.status = int(reply.headers[":status"])
    elif isinstance(event, DataReceived):
        reply.body += event.data
    elif isinstance(event, TrailersReceived):
        reply.trailers = {str(name): str(value) for name, value in event.headers}
    elif isinstance(event, StreamReset):
        reply.closed, reply.code = not reply.ended, event.error_code
    elif isinstance(event, StreamEnded):
        reply.ended = True


def fields(path: str = "/", *, method: str = "GET", host: str = "good.example", more: Fields | None = None) -> Fields:
    return [(":method", method), (":scheme", "https"), (":authority", host), (":path", path), *(more or [])]


def test_the_key_is_injected_and_the_answer_masked_to_its_last_field(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    h2_upstream.answers["/echo"] = H2Answer(
        headers=(("x-echo", SECRET),),
        parts=(b"body ", SECRET.encode()),
        trailers=(("x-last", SECRET), ("grpc-status", "0")),
    )
    reply = Client(outgate, "good.example").ask(fields("/echo", method="POST"), b"x")
    hidden = "*" * len(SECRET)
    assert (reply.status, reply.body) == (200, b"body " + hidden.encode())
    assert reply.headers["x-echo"] == hidden
    assert (reply.trailers["x-last"], reply.trailers["grpc-status"]) == (hidden, "0")
    assert h2_upstream.record.last.values("x-api-key") == [SECRET]


def test_request_trailers_are_not_a_way_around_the_head(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    reply = Client(outgate, "good.example").ask(fields(method="POST"), b"x", [("x-api-key", "someone-elses")])
    assert reply.status == 200
    assert h2_upstream.record.last.trailers == []
    assert b"someone-elses" not in h2_upstream.record.raw()


BAD: dict[str, Fields] = {
    "another authority": fields(host="evil.example"),
    "another port": fields(host="good.example:8443"),
    "a host beside the authority": fields(more=[("host", "evil.example")]),
    "plain scheme": [(":method", "GET"), (":scheme", "http"), (":authority", "good.example"), (":path", "/")],
    "no authority": [(":method", "GET"), (":scheme", "https"), (":path", "/")],
    "a space in the path": fields("/x HTTP/1.1"),
    "a line in the path": fields("/x\r\nX: y"),
    "a space in the method": fields(method="GET /y"),
    "a relative path": fields("x"),
    "an absolute path": fields("https://evil.example/"),
    "a line in a value": fields(more=[("x", "a\r\nhost: evil.example")]),
    "an upper-case name": fields(more=[("X-Upper", "a")]),
    "a hop-by-hop field": fields(more=[("transfer-encoding", "chunked")]),
    "a length without a body": fields(method="POST", more=[("content-length", "5")]),
    "a disguised length": fields(more=[("content_length", "5")]),
    "a disguised coding": fields(more=[("transfer_encoding", "chunked")]),
    "two lengths": fields(more=[("content-length", "1"), ("content-length", "2")]),
    "CONNECT": [(":method", "CONNECT"), (":authority", "evil.example:443")],
    "extended CONNECT": [*fields(method="CONNECT"), (":protocol", "websocket")],
    "an unknown pseudo-header": [*fields(), (":evil", "x")],
}


@pytest.mark.parametrize("case", BAD, ids=str)
@pytest.mark.parametrize("host", ["good.example", "old.example"])
def test_a_head_that_misleads_reaches_nobody(
    outgate: Outgate, h2_upstream: H2Upstream, upstream: Upstream, host: str, case: str
) -> None:
    sent = [(name, value.replace("good.example", host)) for name, value in BAD[case]]
    reply = Client(outgate, host).ask(sent)
    assert reply.closed or reply.status in (400, 403)
    assert not h2_upstream.record.connections
    assert not upstream.record.connections
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    assert events[0]["verdict"] == "deny"


def test_an_http1_upstream_behind_an_http2_client_sees_one_clean_request(outgate: Outgate, upstream: Upstream) -> None:
    client = Client(outgate, "old.example")
    reply = client.ask(
        fields("/a?b=c", host="old.example", method="POST", more=[("cookie", "a=1"), ("cookie", "b=2")]), b"abc"
    )
    assert reply.status == 200
    received = upstream.record.last
    assert (received.method, received.target, received.version) == ("POST", "/a?b=c", "HTTP/1.1")
    assert received.values("host") == ["old.example"]
    assert received.body == b"abc"


def test_a_refused_stream_leaves_the_others_alone(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    client = Client(outgate, "good.example")
    assert client.ask(fields("/a/../b")).status == 403
    assert client.ask(fields("/ok")).status == 200
    assert len(outgate.wait_for_events(lambda found: len(found) == 2)) == 2


def test_a_refusal_of_grpc_is_a_grpc_status(outgate: Outgate) -> None:
    reply = Client(outgate, "good.example").ask(
        fields("/pkg.Service/..", method="POST", more=[("content-type", "application/grpc")]), b"x"
    )
    assert (reply.status, reply.headers["grpc-status"]) == (200, "7")
