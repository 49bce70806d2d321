"""What is measured: each work as a job for the load generator, and the engines that can do it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.engines.engine import DENIED, ELSEWHERE
from benchmarks.load.job import Job, Target

_MB = 1_000_000
_GUARDS = ("squid", "mitmdump", "outgate", "outgate-mitmproxy")


@dataclass(frozen=True)
class Work:
    """`needs` is what an engine must be able to do; `port` which of the upstream's ports is asked; `only` the engines
    that it is about. `quick` are the job's fields in a quick run; None leaves the work out of one. `most` bounds the
    rounds. `alone`: each measurement starts its engine anew, and the memory that the job adds is the figure."""

    name: str
    title: str
    unit: str
    job: Job
    needs: str = "inspect"
    port: str = "inspected"
    only: tuple[str, ...] = ()
    quick: Mapping[str, Any] | None = None
    most: int = 99
    alone: bool = False

    def sized(self, *, quick: bool) -> "Work":
        """As it is done in this run."""
        return (
            replace(self, job=replace(self.job, **self.quick), most=min(self.most, 3)) if quick and self.quick else self
        )

    def hosts(self, rounds: int, engines: int) -> int:
        """How many host names all of its measurements need, the first round that is thrown away included."""
        return self.job.count * (rounds + 1) * engines if self.needs == "hosts" else 0


def _job(kind: str, **fields: object) -> Job:
    nowhere = Target("localhost", 0, "")
    make: Callable[..., Job] = Job
    return make(kind, nowhere, **fields)


_INSPECTED = (
    Work("keepalive", "kept connection, 1 kB", "request", _job("kept", count=2000), quick={"count": 800}),
    Work(
        "newconn", "new connection each", "connection", _job("fresh", count=200), needs="handshake", quick={"count": 80}
    ),
    Work("newhost", "new host each", "connection", _job("fresh", count=160), needs="hosts", quick={"count": 40}),
    Work(
        "download",
        "download of 100 MB",
        "100 MB",
        _job("kept", count=1, clients=1, path=f"/bytes/{100 * _MB}"),
        quick={"count": 1},
    ),
    Work("upload", "upload of 100 MB", "100 MB", _job("kept", count=1, clients=1, body=100 * _MB), quick={"count": 1}),
    # Outgate closes a connection after 100 refusals, so none has as many. Squid closes an opened tunnel after one.
    Work(
        "refused",
        "refused https request",
        "request",
        _job("kept", count=1200, clients=16, path=DENIED, status=403),
        only=_GUARDS,
        quick={"count": 600, "clients": 8},
    ),
    Work(
        "refusedplain",
        "refused http request",
        "request",
        _job("kept", count=1200, clients=16, path=f"http://{ELSEWHERE}/", status=403),
        only=_GUARDS,
        quick={"count": 600, "clients": 8},
    ),
    Work("paced", "500 requests/s", "request", _job("kept", count=1000, clients=16, rate=500), quick={"count": 400}),
    Work("first", "first byte of a stream", "stream", _job("first", count=300), quick={"count": 100}),
    Work("mix", "install, clone and model calls", "mix", _job("mix", count=1), quick={"count": 1}),
    Work("sse500", "500 streams of events", "event", _job("streams", clients=500, rate=1000, seconds=3.0), most=2),
    Work("sse2000", "2,000 streams of events", "event", _job("streams", clients=2000, rate=1000, seconds=4.0), most=1),
)
_OTHERS = (
    Work(
        "tunnels",
        "tunnel, new connection each",
        "connection",
        _job("fresh", count=240),
        needs="tunnel",
        port="tunnel",
        quick={"count": 80},
    ),
    Work(
        "tunnelbytes",
        "tunnel, 100 MB",
        "100 MB",
        _job("kept", count=1, clients=1, path=f"/bytes/{100 * _MB}"),
        needs="tunnel",
        port="tunnel",
        quick={"count": 1},
    ),
    Work(
        "http2",
        "HTTP/2, 8 streams at a time, 1 kB",
        "request",
        _job("http2", count=2000),
        needs="http2",
        port="http2",
        quick={"count": 400},
    ),
    Work(
        "workers",
        "two workers beside one",
        "request",
        _job("kept", count=4000, clients=64, path=DENIED, status=403),
        only=("outgate", "outgate-2-workers"),
        quick={"count": 2000, "clients": 32},
    ),
    Work("idle", "idle connection", "connection", _job("hold", count=1000), only=_GUARDS, most=1, alone=True),
    Work(
        "idletunnels",
        "idle tunnel",
        "connection",
        _job("hold", count=1000),
        needs="tunnel",
        port="tunnel",
        only=("squid-tunnel", "mitmdump", "outgate"),
        most=1,
        alone=True,
    ),
)
WORKS = {work.name: work for work in (*_INSPECTED, *_OTHERS)}
