"""What a tree of processes uses: CPU and memory, from Linux' /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """In KiB, over the whole tree: proportional set size now, and the sum of the largest resident sizes so far."""

    pss: int
    peak: int


def tree(pid: int) -> list[int]:
    """The process and all that came of it and is still there."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # it has just ended
    return found


def cpu_of(pid: int) -> float:
    """CPU seconds of the tree so far, children that ended and were waited for included."""
    return sum(_clock(each) + _reaped(each) for each in tree(pid))


def memory_of(pid: int) -> Memory:
    """Of the tree as it is now."""
    pids = tree(pid)
    pss = sum(field_of(_read(each, "smaps_rollup"), "Pss") for each in pids)
    return Memory(pss, sum(field_of(_read(each, "status"), "VmHWM") for each in pids))


def field_of(text: str, name: str) -> int:
    """The KiB that a line `name:  N kB` tells, or 0 if there is none."""
    for line in text.splitlines():
        label, _, value = line.partition(":")
        if label == name:
            return int(value.split()[0])
    return 0


def reaped_seconds(stat: str) -> float:
    """cutime and cstime of a line of /proc/PID/stat (proc_pid_stat(5)). The name in it may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[13:15]) / _TICK


def _clock(pid: int) -> float:
    # The process' own CPU clock (clock_getcpuclockid(3)): user and system time of all threads, in nanoseconds, where
    # utime and stime count ticks of 10 ms.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _reaped(pid: int) -> float:
    stat = _read(pid, "stat")
    return reaped_seconds(stat) if stat else 0.0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""
