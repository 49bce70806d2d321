"""The load generator, a process of its own: `python -m benchmarks.load JOB`.

It prepares, says `ready`, waits for a line, does the job and prints what came of it.
"""

import gc
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator

from benchmarks.load.job import Done, Job
from benchmarks.wire.connection import Lost
from benchmarks.wire.loop import Loop

_LONGEST = 180  # seconds


def main() -> None:
    """Do the job; the result is a line of JSON: units, seconds, CPU seconds of this process, latencies in seconds."""
    signal.alarm(_LONGEST)  # an engine that hangs fails
    job = Job.of(sys.argv[1])
    try:
        _run(importlib.import_module(f"benchmarks.load.{job.kind}").prepare(job, Loop()))
    except (OSError, Lost) as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _run(phases: Iterator[Done]) -> None:
    next(phases)
    gc.freeze()
    gc.disable()
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    begun, used = time.monotonic(), time.process_time()
    done = next(phases)
    result = {
        "units": done.units,
        "seconds": time.monotonic() - begun,
        "cpu": time.process_time() - used,
        "latencies": done.latencies,
    }
    print(json.dumps(result), flush=True)
    for _ in phases:
        pass


if __name__ == "__main__":
    main()
