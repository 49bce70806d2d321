"""Requests of HTTP/2 clients: kept connections with some streams at a time."""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected
from benchmarks.load.job import Done, Job
from benchmarks.wire import http2
from benchmarks.wire.connection import Connection, Lost
from benchmarks.wire.loop import Loop, Task

STREAMS = 8


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Opens the connections; then does the job."""
    done, context = Done(), job.target.context("h2")
    connections: list[Connection] = []

    def opener() -> Task[None]:
        connection = yield from connected(loop, job.target, context)
        if connection.protocol != "h2":
            raise Lost("the proxy does not speak HTTP/2")
        yield from connection.send(http2.PREFACE + http2.greeting())
        connections.append(connection)

    for _ in range(job.clients):
        loop.spawn(opener())
    loop.run()
    yield done
    for connection in connections:
        loop.spawn(_client(job, connection, done, job.count // job.clients))
    loop.run()
    yield done
    for connection in connections:
        connection.close()


def _client(job: Job, connection: Connection, done: Done, count: int) -> Task[None]:
    head = _head(job)
    begun: dict[int, float] = {}
    streams = iter(range(1, 2 * count, 2))
    data = b""

    def asked(number: int) -> bytes:
        begun[number] = time.monotonic()
        return http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, number, head)

    out = b"".join(asked(number) for _, number in zip(range(STREAMS), streams, strict=False))
    while begun or out:
        if out:
            yield from connection.send(out)
        piece = yield from connection.receive()
        if not piece:
            raise Lost("the connection ended")
        data += piece
        out, place = b"", 0
        for kind, flags, stream, payload, end in http2.frames(data):
            place = end
            out += http2.reply(kind, flags, payload)
            _check(kind, payload)
            if kind in {http2.HEADERS, http2.DATA} and flags & http2.END_STREAM:
                done.add(time.monotonic() - begun.pop(stream))
                following = next(streams, 0)
                out += asked(following) if following else b""
        data = data[place:]


def _check(kind: int, payload: bytes) -> None:
    if kind in {http2.RESET, http2.GOAWAY}:
        raise Lost(f"HTTP/2 frame {kind}: {payload!r}")
    # 200 is entry 8 of the static table (RFC 7541, appendix A); engines write it so, or as a literal.
    if kind == http2.HEADERS and b"\x88" not in payload and b"200" not in payload and b"\x10\x01" not in payload:
        raise Lost(f"not answered 200: {payload!r}")


def _head(job: Job) -> bytes:
    fields = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", f"{job.target.host}:{job.target.port}".encode()),
        (b":path", job.path.encode()),
        (b"user-agent", b"bench"),
    ]
    return http2.block(fields)
