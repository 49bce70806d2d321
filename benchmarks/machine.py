"""What a run was made on: machine, versions, and how busy it was otherwise."""

import os
import platform
import ssl
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.engines.engine import Engine, version_of


def described(engines: tuple[Engine, ...]) -> dict[str, object]:
    """Of this machine, now."""
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "commit": _commit(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {engine.name: engine.version() for engine in engines},
    }


def model(cpuinfo: str) -> str:
    """The processor's name, as /proc/cpuinfo tells it; `unknown` where it does not."""
    for line in cpuinfo.splitlines():
        label, _, value = line.partition(":")
        if label.strip() == "model name":
            return value.strip()
    return "unknown"


def _commit() -> str:
    found = version_of(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"])
    return found if found and " " not in found else "unknown"
