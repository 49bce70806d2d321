"""How long the first byte of a stream takes, one at a time on one connection."""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected, request
from benchmarks.load.job import Done, Job
from benchmarks.wire import http1
from benchmarks.wire.connection import Lost
from benchmarks.wire.loop import Loop, Task


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Nothing to prepare but the connection, whose first stream is not counted; then does the job."""
    done, context = Done(), job.target.context()

    def client() -> Task[None]:
        connection = yield from connected(loop, job.target, context)
        for index in range(job.count + 1):
            begun = time.monotonic()
            yield from connection.send(request(job, "/event"))
            data = b""
            while b"data: " not in data:
                piece = yield from connection.next()
                if not piece:
                    raise Lost("the stream ended before its first event")
                data += piece
            if index:
                done.add(time.monotonic() - begun)
            while not data.endswith(http1.LAST):
                data += yield from connection.next()
        connection.close()

    yield done
    loop.spawn(client())
    loop.run()
    yield done
