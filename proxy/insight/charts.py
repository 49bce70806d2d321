"""Where the bars of a chart stand. Pure geometry, in the units of an SVG; the page draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, log10

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960.0, 200.0, 56.0, 10.0, 22.0
_MOST_BARS = 240


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of parts that stand on each other: for each its top and height; `values` are what they mean."""

    start: datetime
    x: float
    width: float
    parts: tuple[tuple[float, float], ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time, one for each `step`; `ticks` are heights with their values, `days` places with their times."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, float], ...]
    days: tuple[tuple[float, datetime], ...]
    step: timedelta


def over_time(points: Sequence[tuple[datetime, Sequence[float]]], step: timedelta) -> Chart:
    """A chart of sums at times that are multiples of `step`, in order; neighbours share a bar where there are many."""
    if not points:
        return Chart((), (), (), step)
    first, last = points[0][0], points[-1][0]
    together = max(1, ceil(((last - first) / step + 1) / _MOST_BARS))
    if step == timedelta(hours=1) and together > 1:
        together = next((size for size in (2, 3, 4, 6, 12, 24) if size >= together), 24 * ceil(together / 24))
        first -= timedelta(hours=first.hour % min(together, 24))
    step *= together
    number = int((last - first) / step) + 1
    sums = [[0.0] * len(points[0][1]) for _ in range(number)]
    for time, values in points:
        row = sums[int((time - first) / step)]
        for place, value in enumerate(values):
            row[place] += value
    top = _round_up(max(map(sum, sums)))
    room, each = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT) / number
    bars = tuple(
        Bar(first + step * place, LEFT + each * place, max(each * 0.86, 0.5), _parts(row, room, top), tuple(row))
        for place, row in enumerate(sums)
        if any(row)
    )
    ticks = tuple((TOP + room * (1 - share), top * share) for share in (0, 0.5, 1))
    labels = max(1, ceil(number / 8))
    days = tuple((LEFT + each * place, first + step * place) for place in range(0, number, labels))
    return Chart(bars, ticks, days, step)


def _parts(row: Sequence[float], room: float, top: float) -> tuple[tuple[float, float], ...]:
    parts, base = [], TOP + room
    for value in row:
        height = room * value / top
        base -= height
        parts.append((base, height))
    return tuple(parts)


def _round_up(value: float) -> float:
    """The next number that reads well, as 200 or 5000."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** int(log10(value)) if value >= 1 else 10.0 ** (int(log10(value)) - 1)
    return next(unit * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10, 20) if unit * factor >= value)
