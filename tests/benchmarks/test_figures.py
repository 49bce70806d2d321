"""The numbers of the benchmark: from what was measured to medians, ratios and verdicts."""

import pytest

from benchmarks.figures import Results, compared, gathered, median, quantile, sample
from benchmarks.process import Memory
from benchmarks.targets import TARGETS, Target, ratio

RESULT = {"units": 4, "seconds": 2.0, "cpu": 1.9, "latencies": [0.004, 0.001, 0.003, 0.002]}


def results(ours: list[float], squids: list[float]) -> Results:
    return {"keepalive": {"outgate": {"cpu_ms": ours}, "squid": {"cpu_ms": squids}}}


def test_a_sample_is_told_by_unit_and_by_second() -> None:
    found = sample(RESULT, used=0.4, served=0.2, memory=(Memory(1000, 0), Memory(1200, 0), Memory(2048, 4096)))
    assert found["cpu_ms"] == 100
    assert found["per_second"] == 2
    assert (found["load_busy"], found["upstream_busy"], found["engine_busy"]) == (0.95, 0.1, 0.2)
    assert (found["held_kb"], found["pss_mib"], found["peak_mib"]) == (51.2, 2, 4)
    assert (found["p50_ms"], found["p99_ms"]) == (3, 4)


def test_a_sample_without_latencies_has_none() -> None:
    found = sample({**RESULT, "latencies": []}, used=0.4, served=0.2, memory=(Memory(0, 0),) * 3)
    assert "p50_ms" not in found


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([1.0], 0.99) == 1.0
    assert quantile(list(range(100)), 0.99) == 99
    assert quantile(list(range(100)), 0.5) == 50


def test_rounds_are_compared_with_each_other() -> None:
    found = results([1.0, 3.0], [2.0, 2.0])
    assert compared(found, "keepalive", "cpu_ms", ("outgate", "squid")) == [0.5, 1.5]
    assert compared(found, "keepalive", "cpu_ms", ("outgate", "squid"), added=True) == [-1.0, 1.0]
    assert compared(found, "keepalive", "cpu_ms", ("outgate", "mitmdump")) is None
    assert compared(results([1.0], [0.0]), "keepalive", "cpu_ms", ("outgate", "squid")) is None


def test_samples_gather_by_work_engine_and_figure() -> None:
    found: Results = {}
    gathered(found, "w", "e", {"cpu_ms": 1.0})
    gathered(found, "w", "e", {"cpu_ms": 4.0})
    assert found == {"w": {"e": {"cpu_ms": [1.0, 4.0]}}}
    assert median(found, "w", "e", "cpu_ms") == 2.5
    assert median(found, "w", "other", "cpu_ms") is None


@pytest.mark.parametrize(("values", "least", "met"), [([0.9, 1.0, 9.0], False, True), ([1.1], False, False)])
def test_a_target_is_met_by_the_median(values: list[float], least: bool, met: bool) -> None:
    assert Target("t", "keepalive", 1.0, "x", ratio("squid"), least=least).met(values) is met
    assert Target("t", "keepalive", 1.0, "x", ratio("squid"), least=True).met([1.8, 0.1, 2.0])


def test_the_targets_are_those_of_the_project() -> None:
    limits = {(target.work, target.unit): target.limit for target in TARGETS if "lane" not in target.title}
    assert limits == {
        ("keepalive", "x"): 1.0,
        ("newconn", "x"): 0.6,
        ("download", "x"): 0.6,
        ("upload", "x"): 0.6,
        ("refused", "x"): 1.0,
        ("refusedplain", "x"): 1.0,
        ("paced", "ms"): 2.0,
        ("first", "ms"): 1.0,
        ("sse500", "ms"): 0.05,
        ("sse2000", "ms"): 0.05,
        ("tunnels", "x"): 1.0,
        ("tunnelbytes", "x"): 1.3,
        ("idle", "KB"): 60,
        ("idletunnels", "KB"): 20,
        ("workers", "x"): 1.8,
        ("rules", "x"): 1.1,
        ("rules", "s"): 1.0,
    }
    assert [target.limit for target in TARGETS if "lane" in target.title] == [0.4, 0.5]
