"""What the benchmark reads of /proc."""

import os
import subprocess
import sys

from benchmarks.machine import model
from benchmarks.process import cpu_of, field_of, memory_of, reaped_seconds, tree

TICK = os.sysconf("SC_CLK_TCK")
STAT = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 11 12 {} {} 20 0 1 0 5 1000 10 0"
ROLLUP = "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:     900 kB\nPss:     512 kB\nPss_Dirty:  1 kB\n"


def test_the_time_of_ended_children_is_read_behind_any_name() -> None:
    assert reaped_seconds(STAT.format(TICK, 2 * TICK)) == 3.0


def test_a_field_is_read_by_its_whole_name() -> None:
    assert field_of(ROLLUP, "Pss") == 512
    assert field_of(ROLLUP, "VmHWM") == 0


def test_the_processors_name() -> None:
    assert model("processor\t: 0\nmodel name\t: Some CPU: 9\n") == "Some CPU: 9"
    assert model("") == "unknown"


def test_a_tree_has_the_grandchildren() -> None:
    inner = "import sys, time; print('here', flush=True); sys.stdin.read()"
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {middle!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        found = tree(process.pid)
        assert len(found) == 3
        assert found[0] == process.pid
        assert cpu_of(process.pid) > 0
        memory = memory_of(process.pid)
        assert 0 < memory.pss < memory.peak
        process.stdin.close()


def test_a_process_that_is_gone_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tree(process.pid) == [process.pid]
    assert cpu_of(process.pid) == 0
    assert memory_of(process.pid).pss == 0
