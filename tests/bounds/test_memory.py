"""What could grow does not: each attack sends or asks for far more than the worker may come to hold.

The ceilings are in docs/limits.md. The margins here are wide, so that only something unbounded fails.
"""

import contextlib
import gzip
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from tests.bounds.attacked import MIB, POLICY, World, attacked
from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.rawclient import RawClient
from tests.support.record import Received
from tests.support.upstream_h2 import H2Answer
from tests.support.wire import Wire

HUGE = 256 * MIB
ROOM = 48 * MIB

UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: free.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def push(client: RawClient | socket.socket, data: bytes, total: int) -> int:
    """Send until `total`, or until the other side closes or takes nothing for a second; the bytes that it took."""
    sock = client._socket if isinstance(client, RawClient) else client
    sock.settimeout(1.0)
    sent = 0
    try:
        while sent < total:
            sock.sendall(data)
            sent += len(data)
    except OSError:
        pass
    return sent


class Flood:
    """A body of `HUGE` in pieces, and how much of it was asked for so far."""

    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        piece = b"x" * 65536
        while self.sent < HUGE:
            self.sent += len(piece)
            yield piece

    async def answer(self, _: Received, wire: Wire) -> None:
        await wire.head(200, {"Content-Length": str(HUGE)})
        for piece in self:
            await wire.send(piece)

    def wait_until_it_stops(self, world: World) -> None:
        """Return once it flows no more, while others are served. What flows to its end was not held back."""
        before = -1
        while before != self.sent:
            before = self.sent
            assert all(world.serves() for _ in range(5))
        assert 0 < self.sent < HUGE


def endless_head(world: World) -> None:
    with world.proxy.client() as client:
        client.send(b"GET http://free.example/ HTTP/1.1\r\n")
        assert push(client, b"X: " + b"y" * 65536 + b"\r\n", HUGE) < 16 * MIB


def endless_line(world: World) -> None:
    with world.proxy.tunnel("free.example:443") as client:
        assert push(client, b"G" * 65536, HUGE) < 16 * MIB


def endless_response_head(world: World) -> None:
    world.upstream.on("/head", answers.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HUGE // 16 // 6)))
    with world.proxy.tunnel("free.example:443") as client:
        answer = client.request("GET", "/head", "free.example")
        assert (answer.status, answer.json()["reason"]) == (502, "upstream_unreachable")


def pipelining(world: World) -> None:
    world.upstream.on("/wait", answers.wait_for(world.upstream.gate(), answers.reply()))
    with world.proxy.tunnel("free.example:443") as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: free.example\r\n\r\n")
        assert push(client, b"GET /more HTTP/1.1\r\nHost: free.example\r\n\r\n" * 1000, HUGE) < 16 * MIB
    assert all(request.target != "/more" for request in world.upstream.record.requests)


def denied_upload(world: World) -> None:
    """Ten gigabytes are announced to a host that is denied: a little of it is read, then the connection is cut."""
    with world.proxy.tunnel("evil.example:443") as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10737418240\r\n\r\n")
        assert push(client, b"x" * 65536, HUGE) < 64 * MIB


def never_reads(world: World) -> None:
    flood = Flood()
    world.upstream.on("/down", flood.answer)
    with world.proxy.tunnel("free.example:443") as client:
        client.send(b"GET /down HTTP/1.1\r\nHost: free.example\r\n\r\n")
        assert client.read_head().status == 200
        flood.wait_until_it_stops(world)


def never_reads_through_a_tunnel(world: World) -> None:
    flood = Flood()
    world.upstream.on("/down", flood.answer)
    with world.proxy.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.tls("pinned.example", ca_file=world.upstream.ca_file)
        client.send(b"GET /down HTTP/1.1\r\nHost: pinned.example\r\n\r\n")
        assert client.read_head().status == 200
        flood.wait_until_it_stops(world)


def never_reads_over_http2(world: World) -> None:
    flood = Flood()
    world.h2_upstream.answers["/down"] = H2Answer(parts=flood)  # type: ignore[arg-type]
    client = Client(world.proxy, "h2.example")
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(50):
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, fields("/down", host="h2.example"), end_stream=True)
    client.socket.sendall(client.h2.data_to_send())
    world.h2_upstream.record.wait(lambda record: len(record.requests) == 50)
    flood.wait_until_it_stops(world)
    client.raw.close()


def never_reads_an_upload(world: World) -> None:
    async def stall(*_: object) -> None:
        await world.upstream.gate().wait()

    world.upstream.on("/up", stall)
    with world.proxy.tunnel("free.example:443") as client:
        client.send(b"PUT /up HTTP/1.1\r\nHost: free.example\r\nContent-Length: 10737418240\r\n\r\n")
        # The upstream's own buffer takes what it likes; what it does not take must stay with the client.
        assert push(client, b"x" * 65536, HUGE) < HUGE
        assert world.serves()


def after_goodbye(world: World) -> None:
    """What follows a close_notify of a client that still waits for its answer: OpenSSL reads none of it."""
    world.upstream.on("/wait", answers.wait_for(world.upstream.gate(), answers.reply()))
    with world.proxy.tunnel("free.example:443") as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: free.example\r\n\r\n")
        world.upstream.record.wait(lambda record: any(request.target == "/wait" for request in record.requests))
        client._socket.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            client._socket.unwrap()  # type: ignore[attr-defined]
        with socket.socket(fileno=os.dup(client._socket.fileno())) as bare:
            push(bare, b"\x17\x03\x03\x40\x00" + b"x" * 65536, HUGE)


def many_streams(world: World) -> None:
    """A thousand requests at once, whatever the proxy says of how many it takes."""
    world.h2_upstream.answers["/wait"] = H2Answer(parts=(world.h2_upstream.gate(),))
    client = Client(world.proxy, "h2.example")
    client.h2.remote_settings._settings.clear()
    frames = []
    for number in range(1000):
        block = client.h2.encoder.encode(fields("/wait", host="h2.example"))
        frames.append(struct.pack(">I", len(block))[1:] + b"\x01\x05" + struct.pack(">I", 2 * number + 1) + block)
    push(client.socket, b"".join(frames), 1)
    assert world.serves()
    assert len(world.h2_upstream.record.requests) <= 100
    client.raw.close()


def ping_flood(world: World) -> None:
    """Pings whose answers nobody takes."""
    client = Client(world.proxy, "h2.example")
    push(client.socket, (b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"pingpong") * 4000, HUGE // 4)
    assert world.serves()
    client.raw.close()


def continuation_flood(world: World) -> None:
    """A head without an end, in CONTINUATION frames (CVE-2024-27316)."""
    client = Client(world.proxy, "h2.example")
    client.socket.sendall(b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82")
    more = b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"\x00\x01x\x7f\xa1\x7f" + b"y" * (16384 - 6)
    assert push(client.socket, more, HUGE) < 32 * MIB
    client.raw.close()


def header_bomb(world: World) -> None:
    """One large field in the dynamic table, named thousands of times by one byte each (CVE-2016-6581)."""
    client = Client(world.proxy, "h2.example")
    block = client.h2.encoder.encode([*fields(host="h2.example"), ("x", "y" * 3000)])
    block += bytes([0x80 | 62]) * 10_000
    client.socket.sendall(struct.pack(">I", len(block))[1:] + b"\x01\x05\x00\x00\x00\x01" + block)
    client.raw.read_to_end()
    assert world.h2_upstream.record.requests == []
    client.raw.close()


def websocket_frames(world: World) -> None:
    """Small frames without an end, to an upstream that sends everything back to a client that reads nothing."""
    world.upstream.on("/socket", answers.websocket_echo)
    with world.proxy.tunnel("free.example:443") as client:
        client.send(UPGRADE)
        assert client.read_head().status == 101
        push(client, answers.frame(1, b"x" * 125, b"mask") * 500, 8 * MIB)
        assert world.serves()


def compression_bomb(world: World) -> None:
    """A small body that would be large, where it must be searched for a secret."""
    bomb = gzip.compress(bytes(HUGE), 9)
    world.upstream.on("/bomb", answers.reply(200, bomb, {"Content-Encoding": "gzip"}))
    with world.proxy.tunnel("good.example:443") as client:
        client.send(b"GET /bomb HTTP/1.1\r\nHost: good.example\r\n\r\n")
        got = client.read_to_end()
    assert len(got) < HUGE // 2
    assert b"\r\n0\r\n\r\n" not in got, "what was cut off must not look whole"


ATTACKS = [
    endless_head,
    endless_line,
    endless_response_head,
    pipelining,
    denied_upload,
    never_reads,
    never_reads_through_a_tunnel,
    never_reads_over_http2,
    never_reads_an_upload,
    after_goodbye,
    many_streams,
    ping_flood,
    continuation_flood,
    header_bomb,
    websocket_frames,
    compression_bomb,
]
# The others run in `make test-all`: one for each way of growing is enough for every day.
QUICK = {endless_head, pipelining, after_goodbye, denied_upload, never_reads, never_reads_over_http2, compression_bomb}


@pytest.mark.parametrize(
    "attack",
    [attack if attack in QUICK else pytest.param(attack, marks=pytest.mark.slow) for attack in ATTACKS],
    ids=lambda attack: attack.__name__,
)
def test_an_attack_does_not_take_the_memory(
    tmp_path: Path, attack: Callable[[World], None], record_property: Callable[[str, object], None]
) -> None:
    with attacked(tmp_path) as world:
        peak, cpu = world.peak(), world.cpu()
        attack(world)
        grown, spent = world.peak() - peak, world.cpu() - cpu
        record_property("grown", grown)
        print(f"\nMEASURED {attack.__name__}: {grown / MIB:.1f} MiB, {spent:.2f} s")  # noqa: T201
        assert grown < ROOM
        assert world.serves()


def test_nothing_behind_a_goodbye_is_kept_in_the_other_lane(tmp_path: Path) -> None:
    with attacked(tmp_path, lane="other") as world:
        peak = world.peak()
        after_goodbye(world)
        assert world.peak() - peak < ROOM
        assert world.serves()


PLAIN = POLICY.replace("http2: true}", "http2: true, schemes: [http, https], ports: [443, 8080]}")
UPLOAD = b"POST / HTTP/1.1\r\nHost: h2.example:8080\r\nContent-Length: 10737418240\r\n\r\n" + b"x" * (4 * MIB)
DOWNLOAD = b"GET / HTTP/1.1\r\nHost: h2.example:8080\r\n\r\n"


@pytest.mark.parametrize("asked", [UPLOAD, DOWNLOAD], ids=["up", "down"])
def test_a_client_that_is_handed_over_with_much_to_say_or_to_take_is_held_back(tmp_path: Path, asked: bytes) -> None:
    """Its transport was paused by the one lane, or is paused at once by the other: both must know."""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        stop = threading.Event()
        taken = 0

        def play() -> None:
            nonlocal taken
            connection, _ = peer.accept()
            with connection:
                connection.recv(1000)
                if asked is UPLOAD:
                    stop.wait(30)  # takes no more
                else:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE)
                    taken = push(connection, b"y" * 65536, HUGE)

        thread = threading.Thread(target=play)
        thread.start()
        with attacked(tmp_path, policy=PLAIN, also={"h2.example:8080": peer.getsockname()[1]}) as world:
            before = world.peak()
            with world.proxy.client() as client:
                page = b"GET http://outgate.internal/policy HTTP/1.1\r\nHost: outgate.internal\r\n\r\n"
                head = page * 40 + b"CONNECT h2.example:8080 HTTP/1.1\r\nHost: h2.example:8080\r\n\r\n"
                client.send(head)
                if asked is UPLOAD:
                    client.send(asked[: 3 * 65536])
                    assert push(client, asked, HUGE) < HUGE
                else:
                    client.send(asked)
                    thread.join(30)
                    assert taken < HUGE
                assert world.serves()
                stop.set()
            grown = world.peak() - before
        thread.join(30)
        assert grown < ROOM


def test_every_way_to_grow_is_in_the_list() -> None:
    named = re.findall(r"^def (\w+)\(world: World\) -> None:$", Path(__file__).read_text(), re.MULTILINE)
    assert named == [attack.__name__ for attack in ATTACKS]
