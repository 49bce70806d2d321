"""HTTP/2 from the client: what is reset ends, however it is sent, and no client has more running than it may."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from proxy import limits
from tests.e2e.test_http2 import Client, Fields, fields
from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

POLICY = """
version: 1
name: streams
allow:
  - {id: new, why: w, hosts: [new.example], access: any, http2: true}
  - {id: old, why: w, hosts: [old.example], access: any, http2: true}
  - {id: mute, why: w, hosts: [mute.example], access: any, http2: true}
"""

type Start = Callable[..., Outgate]


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of an upstream that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for each in held:
            each.close()


@pytest.fixture
def outgate(start_outgate: Start, h2_upstream: H2Upstream, upstream: Upstream, mute: int) -> Outgate:
    mapping = {"new.example:443": h2_upstream.port, "old.example:443": upstream.port, "mute.example:443": mute}
    return start_outgate(POLICY, connect_to=mapping)


def start_and_reset(client: Client, head: Fields) -> None:
    """A whole request and its reset, in one segment."""
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, head, end_stream=True)
    client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()


def open_descriptors(outgate: Outgate) -> int:
    pid = outgate.ready["pid"]
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


def test_a_reset_that_comes_with_its_request_ends_it(outgate: Outgate, upstream: Upstream) -> None:
    upstream.on("/never", answers.wait_for(upstream.gate(), answers.reply(200)))
    client = Client(outgate, "old.example")
    assert client.ask(fields(host="evil.example")).status == 403
    before = open_descriptors(outgate)
    for _ in range(10):
        start_and_reset(client, fields("/never", host="old.example"))
    ended = outgate.wait_for_events(lambda found: len(found) == 11)[1:]
    assert {(event["verdict"], event["end"]) for event in ended} == {("allow", "client_closed")}
    assert client.ask(fields("/next", host="old.example")).status == 200
    outgate.wait_until(lambda: open_descriptors(outgate) <= before + 1)
    assert outgate.stderr.count("error") == 0


def test_refused_requests_do_not_pay_for_resets(outgate: Outgate) -> None:
    client = Client(outgate, "new.example")
    refusals = limits.MAX_REFUSALS // 5 - 1  # fewer in all than end the connection by themselves
    for _ in range(limits.MAX_HTTP2_RESETS // 20):
        for _ in range(20):
            start_and_reset(client, fields(host="new.example"))
        refused = [client.start(fields(host="evil.example")) for _ in range(refusals)]
        assert [client.wait(stream).status for stream in refused] == [403] * refusals
    start_and_reset(client, fields(host="new.example"))
    assert client.wait(client.h2.highest_outbound_stream_id).closed
    outgate.wait_for_events(lambda found: any(each["detail"] == "too many streams were reset" for each in found))


def test_requests_that_wait_for_a_dial_count_though_they_were_reset(outgate: Outgate) -> None:
    client = Client(outgate, "mute.example")
    for _ in range(limits.MAX_HTTP2_STREAMS):
        start_and_reset(client, fields(host="mute.example"))
    one_more = client.ask(fields("/one-more", host="mute.example"))
    assert (one_more.closed, one_more.code) == (True, ErrorCodes.REFUSED_STREAM)
    # The reset that it brought about is one more than a client may have.
    events = outgate.wait_for_events(lambda found: len(found) >= 2)
    assert [(each["reason"], each["detail"]) for each in events[:2]] == [
        ("limit_exceeded", "too many requests at once"),
        ("limit_exceeded", "too many streams were reset"),
    ]
    client.raw.close()
    outgate.wait_for_events(lambda found: len(found) == 2 + limits.MAX_HTTP2_STREAMS)


def test_small_frames_of_several_streams_go_on_as_few(outgate: Outgate, upstream: Upstream) -> None:
    client = Client(outgate, "old.example")
    streams = [client.start(fields("/up", host="old.example", method="POST"), end=False) for _ in range(2)]
    frames = b"".join(b"\x00\x00\x01\x00\x00" + stream.to_bytes(4) + b"x" for stream in streams)
    count = 10_000
    client.socket.sendall(frames * count)
    for stream in streams:
        client.h2.end_stream(stream)
    client.flush()
    assert [client.wait(stream).status for stream in streams] == [200, 200]
    assert [len(request.body) for request in upstream.record.requests] == [count, count]
    assert upstream.record.raw().count(b"\r\n") < count / 10, "what one read holds of a stream goes out as one chunk"


@pytest.mark.parametrize("host", ["new.example", "old.example"])
@pytest.mark.parametrize("trailers", [None, [("x", "y")]], ids=["data", "trailers"])
@pytest.mark.parametrize("length", ["2", "5"])
def test_a_body_of_another_length_than_was_said_is_cut(
    outgate: Outgate, upstream: Upstream, h2_upstream: H2Upstream, host: str, trailers: Fields | None, length: str
) -> None:
    client = Client(outgate, host)
    stream = client.start(fields("/up", host=host, method="POST", more=[("content-length", length)]), end=False)
    server = upstream if host == "old.example" else h2_upstream
    server.record.wait(lambda record: bool(record.requests))
    client.h2.send_data(stream, b"abc", end_stream=not trailers)
    if trailers:
        client.h2.send_headers(stream, trailers, end_stream=True)
    client.flush()
    assert client.wait(stream).closed
    (event,) = outgate.wait_for_events(lambda found: any(each["verdict"] == "allow" for each in found))[-1:]
    assert event["end"] == "client_closed"
    assert not server.record.last.complete
