"""Connections that have had one request each and then stay idle, while somebody reads the proxy's memory."""

from collections.abc import Iterator

from benchmarks.load.client import connected, request
from benchmarks.load.job import Done, Job
from benchmarks.wire import http1
from benchmarks.wire.connection import Connection
from benchmarks.wire.loop import Loop, Task


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Opens `count` connections; then closes them."""
    context = job.target.context()
    connections: list[Connection] = []
    left = iter(range(job.count))

    def opener() -> Task[None]:
        for _ in left:
            connection = yield from connected(loop, job.target, context)
            yield from connection.send(request(job))
            yield from http1.answer(connection)
            connections.append(connection)

    for _ in range(job.clients):
        loop.spawn(opener())
    loop.run()
    yield Done()
    for connection in connections:
        connection.close()
    yield Done(units=job.count)
