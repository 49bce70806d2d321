"""Whether memory stays flat: the PSS of one worker's process tree after so many short connections of every kind.

    python -m benchmarks.flat [--count 200000]

Of ten, one is intercepted and asked through, every fourth of these under a name from more than certificates are kept
for; two are tunnels; four are CONNECTs with a wrong token; three are requests for hosts that are not allowed. Names
that are refused are all different. What is kept for reuse is filled before the first connection counts.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.__main__ import opened_site
from benchmarks.engines.engine import Proxy, Site
from benchmarks.engines.outgate import OUTGATES
from benchmarks.load.client import connected, request
from benchmarks.load.job import Job, Target
from benchmarks.process import memory_of
from benchmarks.wire import http1
from benchmarks.wire.connection import Lost
from benchmarks.wire.loop import Loop, Task
from benchmarks.works import WORKS

_HOSTS = 1500  # more than certificates are kept for
_CLIENTS = 16  # at a time


class Load:
    """Connections of every kind, through one proxy."""

    def __init__(self, site: Site, proxy: Proxy) -> None:
        self._loop, self._hosts = Loop(), site.hosts
        self._inside = Target("localhost", site.ports["inspected"], str(proxy.ca_file), proxy.address, proxy.connect)
        self._plain, self._port = replace(self._inside, plain=True), site.ports["tunnel"]
        self._context = self._inside.context()

    def warm(self) -> None:
        """Fill what is kept for reuse."""
        self._run(self._ask(host) for host in self._hosts)

    def go(self, begin: int, end: int) -> None:
        """Make the connections with these numbers."""
        self._run(self._one(number) for number in range(begin, end))

    def _run(self, work: Iterator[Task[None]]) -> None:
        def client() -> Task[None]:
            for each in work:
                yield from each

        for _ in range(_CLIENTS):
            self._loop.spawn(client())
        self._loop.run()

    def _one(self, number: int) -> Task[None]:
        kind, turn = number % 10, number // 10
        if kind == 0:
            return self._ask("localhost" if turn % 4 else self._hosts[turn // 4 % _HOSTS])
        if kind < 3:
            return self._say(f"CONNECT localhost:{self._port}", self._inside.connect, 200)
        name = f"n{number}.refused.example"
        if kind < 7:
            return self._say(f"CONNECT {name}:443", "Proxy-Authorization: Basic d3Jvbmc6d3Jvbmc=\r\n", 407)
        return self._say(f"GET http://{name}/", self._inside.connect, 403)

    def _ask(self, host: str) -> Task[None]:
        connection = yield from connected(self._loop, self._inside, self._context, host)
        yield from connection.send(request(Job("fresh", self._inside), host=host))
        yield from http1.answer(connection)
        connection.close()

    def _say(self, what: str, headers: str, status: int) -> Task[None]:
        """One head that is answered so, and no more."""
        connection = yield from connected(self._loop, self._plain, self._context)
        host = what.partition(" ")[2].removeprefix("http://").removesuffix("/")
        yield from connection.send(f"{what} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
        answer = yield from http1.read_head(connection)
        if answer is None or answer.status != status:
            raise Lost(f"{what}: {answer and answer.text!r}")
        connection.close()


def main() -> None:
    """Measure, and print PSS in MiB by the number of connections, as lines of JSON."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="connections")
    most = parser.parse_args().count
    engine = OUTGATES[0]
    hosts = WORKS["newhost"]
    with opened_site((engine,), (hosts,), _HOSTS // hosts.job.count + 1) as (site, _), engine.start(site) as proxy:
        assert proxy.pid is not None
        load = Load(site, proxy)
        load.warm()
        done = 0
        for mark in sorted({most // 100, most // 10, most // 4, most // 2, most}):
            load.go(done, mark)
            done = mark
            print(json.dumps({"connections": done, "pss_mib": round(memory_of(proxy.pid).pss / 1024, 1)}), flush=True)


if __name__ == "__main__":
    main()
