"""Requests on kept connections: as fast as they are answered, or at `rate` in a second whatever the answers do."""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected, request, send_body
from benchmarks.load.job import Done, Job
from benchmarks.wire import http1
from benchmarks.wire.connection import Connection
from benchmarks.wire.loop import Loop, Task


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Opens the connections, each with a request that is allowed; then does the job."""
    clients = [_Client(job, loop) for _ in range(job.clients)]
    for client in clients:
        loop.spawn(client.open())
    loop.run()
    yield Done()
    done, begun = Done(), time.monotonic() + 0.01
    for index, client in enumerate(clients):
        turns = range(index, job.count, job.clients)
        paced = client.paced(done, [begun + turn / job.rate for turn in turns]) if job.rate else None
        loop.spawn(paced or client.asks(done, len(turns)))
    loop.run()
    yield done
    for client in clients:
        client.connection.close()


class _Client:
    connection: Connection

    def __init__(self, job: Job, loop: Loop) -> None:
        self._job, self._loop = job, loop
        self._context = job.target.context()
        self._request = request(job)

    def open(self) -> Task[None]:
        self.connection = yield from connected(self._loop, self._job.target, self._context)
        if not self._job.target.plain:
            yield from self.connection.send(request(self._job, "/small", body=0))
            yield from http1.answer(self.connection)

    def asks(self, done: Done, count: int) -> Task[None]:
        for _ in range(count):
            begun = time.monotonic()
            yield from self._exchange()
            done.add(time.monotonic() - begun)

    def paced(self, done: Done, dues: list[float]) -> Task[None]:
        """Each latency counts from when the request was due, so a proxy that stalls is not asked less."""
        for due in dues:
            if due > time.monotonic():
                yield due
            yield from self._exchange()
            done.add(time.monotonic() - due)

    def _exchange(self) -> Task[None]:
        yield from self.connection.send(self._request)
        yield from send_body(self.connection, self._job.body)
        if (yield from http1.answer(self.connection, self._job.status)):
            return
        # An engine that closes behind an answer has its client connect again, and that belongs to the cost of it.
        self.connection.close()
        self.connection = yield from connected(self._loop, self._job.target, self._context)
