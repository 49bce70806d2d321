"""One measurement as a few numbers, and many of them as median and spread. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.process import Memory

type Sample = dict[str, float]
# work -> engine -> figure -> its value in each round
type Results = dict[str, dict[str, dict[str, list[float]]]]


def sample(result: Mapping[str, Any], used: float, served: float, memory: tuple[Memory, Memory, Memory]) -> Sample:
    """`result` is what the load generator told; `used` and `served` are CPU seconds of engine and upstream meanwhile;
    `memory` is that of the engine before the load was there, when it was, and after it."""
    units, seconds = result["units"], result["seconds"]
    before, held, after = memory
    found = {
        "cpu_ms": used / units * 1000,
        "per_second": units / seconds,
        "load_busy": result["cpu"] / seconds,  # cores
        "upstream_busy": served / seconds,
        "engine_busy": used / seconds,
        "held_kb": (held.pss - before.pss) * 1.024 / units,
        "pss_mib": after.pss / 1024,
        "peak_mib": after.peak / 1024,
    }
    latencies = sorted(result["latencies"])
    if latencies:
        found["p50_ms"] = quantile(latencies, 0.5) * 1000
        found["p99_ms"] = quantile(latencies, 0.99) * 1000
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def gathered(results: Results, work: str, engine: str, found: Sample) -> None:
    """Put a measurement to the others."""
    series = results.setdefault(work, {}).setdefault(engine, {})
    for name, value in found.items():
        series.setdefault(name, []).append(value)


def median(results: Results, work: str, engine: str, figure: str) -> float | None:
    """Over the rounds, or None where it was not measured."""
    values = results.get(work, {}).get(engine, {}).get(figure)
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Least, median and most."""
    return min(values), statistics.median(values), max(values)


def compared(
    results: Results, work: str, figure: str, engines: tuple[str, str], *, added: bool = False
) -> list[float] | None:
    """The first engine beside the second, round by round: their ratio, or with `added` their difference. None where
    one of them was not measured."""
    first, second = (results.get(work, {}).get(engine, {}).get(figure) for engine in engines)
    if not first or not second:
        return None
    pairs = list(zip(first, second, strict=True))
    if added:
        return [one - other for one, other in pairs]
    return [one / other for one, other in pairs] if all(other > 0 for _, other in pairs) else None
