"""What an agent does in a minute, without its pauses: packages are installed, a repository cloned, a model called.

Sizes are those of ordinary tools: an index page and an archive for each package, a clone in two requests, calls of a
model that send a growing conversation and are answered with a stream of events. Each client has a connection.
"""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected, request, send_body
from benchmarks.load.job import Done, Job
from benchmarks.wire import http1
from benchmarks.wire.loop import Loop, Task

# Each client: what it asks for in turn on its one connection, as path and bytes to send.
_ARCHIVES = (15_000, 48_000, 9_000, 310_000, 72_000, 1_400_000, 33_000, 120_000, 21_000, 640_000)
_INSTALL = tuple((f"/bytes/{size}", 0) for archive in _ARCHIVES for size in (28_000, archive))
_CLONE = (("/bytes/6000", 0), ("/bytes/12000000", 2_000))
_MODEL = tuple(
    (f"/model/{events}", sent) for events, sent in ((60, 40_000), (220, 52_000), (35, 71_000), (400, 80_000))
)
CLIENTS = (_INSTALL, _INSTALL, _INSTALL, _CLONE, _MODEL, _MODEL)


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Nothing to prepare; then all of it, `count` times in turn."""
    done, context = Done(), job.target.context()

    def client(turns: tuple[tuple[str, int], ...]) -> Task[None]:
        connection = yield from connected(loop, job.target, context)
        for path, size in turns:
            yield from connection.send(request(job, path, body=size))
            yield from send_body(connection, size)
            yield from http1.answer(connection)
        connection.close()

    yield done
    for _ in range(job.count):
        begun = time.monotonic()
        for turns in CLIENTS:
            loop.spawn(client(turns))
        loop.run()
        done.add(time.monotonic() - begun)
    yield done
