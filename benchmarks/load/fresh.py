"""A new connection for each request, to one host or to a new one each time."""

import time
from collections.abc import Iterator

from benchmarks.load.client import connected, request
from benchmarks.load.job import Done, Job
from benchmarks.wire import http1
from benchmarks.wire.loop import Loop, Task


def prepare(job: Job, loop: Loop) -> Iterator[Done]:
    """Nothing to prepare; then does the job."""
    done, context = Done(), job.target.context()
    hosts = iter(job.hosts or [job.target.host] * job.count)

    def client() -> Task[None]:
        for host in hosts:
            begun = time.monotonic()
            connection = yield from connected(loop, job.target, context, host)
            yield from connection.send(request(job, host=host))
            yield from http1.answer(connection, job.status)
            done.add(time.monotonic() - begun)
            connection.close()

    yield done
    for _ in range(job.clients):
        loop.spawn(client())
    loop.run()
    yield done
