"""What the load generator and its upstream read and write."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from benchmarks.load.client import request
from benchmarks.load.job import Job, Target
from benchmarks.wire import http1, http2

TARGET = Target("localhost", 8443, "/ca.pem", ("127.0.0.1", 3128), connect="A: b\r\n", headers="C: d\r\n")


@pytest.mark.parametrize(
    ("head", "length", "rest"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\n\r\nabc", 12, b"abc"),
        (b"HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", None, b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, b""),
    ],
)
def test_a_head_tells_how_long_its_body_is(head: bytes, length: int | None, rest: bytes) -> None:
    found = http1.parse(head)
    assert found is not None
    assert (found.length, found.rest) == (length, rest)


def test_a_head_is_not_read_before_it_is_all_there() -> None:
    assert http1.parse(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n") is None
    found = http1.parse(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert found is not None
    assert found.status == 403


def test_frames_are_taken_whole() -> None:
    data = http2.frame(http2.DATA, http2.END_STREAM, 3, b"abc") + http2.frame(http2.PING, 0, 0, b"12345678")
    assert [found[:4] for found in http2.frames(data[:-1])] == [(http2.DATA, http2.END_STREAM, 3, b"abc")]
    found = list(http2.frames(data))
    assert found[-1][-1] == len(data)
    assert http2.reply(*found[1][:2], found[1][3]) == http2.frame(http2.PING, http2.ACK, 0, b"12345678")
    assert http2.reply(http2.SETTINGS, http2.ACK, b"") == b""


def test_another_implementation_understands_our_http2() -> None:
    server = H2Connection(H2Configuration(client_side=False))
    long = b"v" * 300
    head = http2.block(
        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a"), (b"x", long)]
    )
    events = server.receive_data(
        http2.PREFACE
        + http2.greeting()
        + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head)
        + http2.frame(http2.DATA, http2.END_STREAM, 1, b"body")
    )
    asked = next(event for event in events if isinstance(event, RequestReceived))
    assert (b"x", long) in asked.headers
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"body"]
    assert any(isinstance(event, StreamEnded) for event in events)


def test_a_job_survives_its_way_to_the_load_generator() -> None:
    job = Job("kept", TARGET, count=3, hosts=("a.example", "b.example"))
    assert Job.of(job.text()) == job


def test_who_asks_is_told_to_the_proxy_alone() -> None:
    inside = request(Job("kept", TARGET, body=5)).decode()
    assert inside.startswith("POST /small HTTP/1.1\r\nHost: localhost:8443\r\n")
    assert "C: d\r\n" in inside
    assert "A: b" not in inside
    plain = Target("localhost", 1, "", plain=True, connect="A: b\r\n")
    asked = request(Job("kept", plain, path="http://x.example/")).decode()
    assert asked.startswith("GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n")
    assert "A: b\r\n" in asked
