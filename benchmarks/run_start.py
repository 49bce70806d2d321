"""What `outgate run` adds to the start of a command: `outgate run -- true` beside `true`, turn about, on one machine.

    python benchmarks/run_start.py

Wall-clock seconds are the person's, and grow with whatever else the machine does; CPU seconds (user and system, of the
whole process tree) survive that better. The load average before and after is told, so that a figure can be judged.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POLICY = """\
version: 1
name: start
allow:
  - id: api
    why: the benchmark
    hosts: [api.example.com]
"""


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=15, help="how often each is started")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="outgate-bench-") as temporary:
        project = Path(temporary).resolve() / "project"
        project.mkdir()
        policy = project.parent / "start.yaml"
        policy.write_text(POLICY, encoding="utf-8")
        options = ["--policy", str(policy), "--state", str(project.parent / "state")]
        guarded = [sys.executable, "-m", "proxy", "run", *options, "--", "true"]
        started(guarded, project)  # the CA is made, and what is read from the disk is in memory
        before = os.getloadavg()[0]
        pairs = [(started(guarded, project), started(["true"], project)) for _ in range(times)]
    print(json.dumps({**figures(pairs), "cores": cores(), "load": [before, os.getloadavg()[0]]}, indent=2))


def started(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds from the start of a command to its end, with all that it started."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    used, begun = spent(), time.monotonic()
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=True)
    return time.monotonic() - begun, spent() - used


def spent() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, Any]:
    """What was added, in seconds: the difference within each pair."""
    added = sorted(guarded[0] - bare[0] for guarded, bare in pairs)
    return {
        "pairs": len(pairs),
        "added_median": round(statistics.median(added), 3),
        "added_least": round(added[0], 3),
        "added_most": round(added[-1], 3),
        "cpu_median": round(statistics.median(guarded[1] - bare[1] for guarded, bare in pairs), 3),
    }


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
