"""Many streams of server-sent events at once: how late each event is."""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected, request
from benchmarks.load.job import Done, Job
from benchmarks.wire.connection import Connection
from benchmarks.wire.loop import Loop, Task

_MARK = b"data: "


class _Finished(Exception):
    """The time is over."""


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Opens `clients` streams, 8 at a time; then listens for `seconds`."""
    done, context = Done(), job.target.context()
    connections: list[Connection] = []
    left = iter(range(job.clients))

    def opener() -> Task[None]:
        for _ in left:
            connection = yield from connected(loop, job.target, context)
            yield from connection.send(request(job, f"/stream/{job.rate}"))
            data = b""
            while _MARK not in data:
                data += yield from connection.next()
            if not data.startswith(b"HTTP/1.1 200"):
                raise OSError(f"no stream: {data[:200]!r}")
            connections.append(connection)

    for _ in range(8):
        loop.spawn(opener())
    loop.run()
    yield done
    # What came while others were opened is late for a reason of ours.
    begun = time.monotonic_ns()
    for connection in connections:
        loop.spawn(_listen(connection, done, begun))
    loop.spawn(_timer(begun / 1e9 + job.seconds))
    try:
        loop.run()
    except _Finished:
        yield done


def _listen(connection: Connection, done: Done, begun: int) -> Task[None]:
    while True:
        data = yield from connection.next()
        now = time.monotonic_ns()
        if not data:
            raise OSError("a stream ended")
        place = data.find(_MARK)
        while place >= 0:
            sent = int(data[place + 6 : place + 26])
            if sent >= begun:
                done.add((now - sent) / 1e9)
            place = data.find(_MARK, place + 26)


def _timer(due: float) -> Task[None]:
    yield due
    raise _Finished
