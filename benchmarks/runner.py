"""Rounds: each work by each engine in turn, then again, so that what else the machine does falls on all alike."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from benchmarks.engines.engine import Engine, FailedError, Proxy, Site
from benchmarks.figures import Sample, sample
from benchmarks.load.job import Job, Target
from benchmarks.process import Memory, cpu_of, memory_of
from benchmarks.upstream import SECRET
from benchmarks.works import Work

ROOT = Path(__file__).parents[1]
_SECRET_LINE = f"Authorization: Bearer {SECRET}\r\n"


@dataclass(frozen=True)
class Bench:
    """The engines, the works and the upstream of one run."""

    engines: tuple[Engine, ...]
    works: tuple[Work, ...]
    rounds: int
    site: Site
    upstream: int  # its process id
    failed: dict[tuple[str, str], str] = field(default_factory=dict)  # engine and work, and why

    def samples(self) -> Iterator[tuple[str, str, Sample]]:
        """Work, engine and what was measured. The first round warms up, and is told to nobody."""
        hosts = iter(self.site.hosts)
        with ExitStack() as stack:
            started: dict[str, Proxy] = {}
            for turn, work, engine in self.turns():
                try:
                    if work.alone:
                        found = self._alone(work, engine)
                    else:
                        if engine.name not in started:
                            started[engine.name] = stack.enter_context(engine.start(self.site))
                        found = self._measure(_warming(work, turn), engine, started[engine.name], hosts)
                except FailedError as error:
                    self.failed[engine.name, work.name] = str(error)
                    continue
                if turn:
                    yield work.name, engine.name, found

    def turns(self) -> Iterator[tuple[int, Work, Engine]]:
        """Round, work and engine in order; who comes first changes with the round. Who failed is not asked again."""
        for turn in range(self.rounds + 1):
            for work in self.works:
                # Memory is read in new processes, and takes no warming up.
                if turn > work.most or (work.alone and not turn):
                    continue
                able = [each for each in self.engines if takes(each, work)]
                for engine in able[::-1] if turn % 2 else able:
                    if (engine.name, work.name) not in self.failed:
                        yield turn, work, engine

    def _alone(self, work: Work, engine: Engine) -> Sample:
        folder = self.site.folder / f"{work.name}-{engine.name}"
        folder.mkdir()
        with engine.start(replace(self.site, folder=folder)) as proxy:
            # What is loaded at the first request is no part of a connection.
            self._measure(replace(work, job=replace(work.job, count=16)), engine, proxy, iter(()))
            return self._measure(work, engine, proxy, iter(()))

    def _measure(self, work: Work, engine: Engine, proxy: Proxy, hosts: Iterator[str]) -> Sample:
        job = replace(work.job, target=self._target(work, engine, proxy))
        if work.needs == "hosts":
            job = replace(job, hosts=tuple(next(hosts) for _ in range(job.count)))
        before = _memory(proxy)
        command = [sys.executable, "-m", "benchmarks.load", job.text()]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            _told(load.stdout)
            held = _memory(proxy)
            used, served = _cpu(proxy), cpu_of(self.upstream)
            load.stdin.write("\n")
            load.stdin.flush()
            result = _told(load.stdout)
            used, served = _cpu(proxy) - used, cpu_of(self.upstream) - served
        return sample(result, used, served, (before, held, _memory(proxy)))

    def _target(self, work: Work, engine: Engine, proxy: Proxy) -> Target:
        outside = "end-to-end" in engine.can
        untouched = outside or work.needs == "tunnel"
        return Target(
            "localhost",
            self.site.ports[work.port],
            str(self.site.ca_file if untouched else proxy.ca_file),
            proxy.address,
            proxy.connect,
            _SECRET_LINE if untouched else "",
            plain="://" in work.job.path,
        )


def takes(engine: Engine, work: Work) -> bool:
    """Whether an engine does this work."""
    if work.only or engine.name == "outgate-2-workers":
        return engine.name in work.only
    return work.needs in engine.can


def _warming(work: Work, turn: int) -> Work:
    """In the round that warms up, as little as will do."""
    if turn:
        return work
    job: Job = work.job
    return replace(
        work, job=replace(job, count=min(job.count, 200), clients=min(job.clients, 50), seconds=job.seconds / 4)
    )


def _told(stdout: IO[str]) -> Any:
    line = stdout.readline()
    found = json.loads(line) if line else {"error": "the load generator ended"}
    if "error" in found:
        raise FailedError(found["error"])
    return found


def _cpu(proxy: Proxy) -> float:
    return cpu_of(proxy.pid) if proxy.pid else 0.0


def _memory(proxy: Proxy) -> Memory:
    return memory_of(proxy.pid) if proxy.pid else Memory(0, 0)
