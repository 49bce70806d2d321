"""CPU beside Squid's as bars on a logarithmic scale, an SVG that reads on light and dark pages. Pure."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.figures import Results, median
from benchmarks.tables import Titles, has_cpu, number

_COLOURS = {
    "squid-tunnel": "#8c8c8c",
    "squid-ecdsa": "#b9a26a",
    "mitmdump": "#d1603d",
    "outgate": "#2a7de1",
    "outgate-mitmproxy": "#7fb2ee",
}
_LEFT, _WIDTH, _BAR, _GAP = 210, 560, 13, 12
_LOW, _HIGH = 0.1, 100.0


def chart(results: Results, titles: Titles, engines: Sequence[str]) -> str:
    """For each work a group of bars: CPU of each engine divided by that of Squid with ssl-bump."""
    shown = [engine for engine in engines if engine in _COLOURS]
    parts: list[str] = []
    place = 46
    for work, (title, _) in titles.items():
        base = median(results, work, "squid", "cpu_ms")
        ratios = [(engine, median(results, work, engine, "cpu_ms")) for engine in shown]
        bars = [(engine, value / base) for engine, value in ratios if value and base]
        if not bars or not has_cpu(work):
            continue
        parts.append(_text(_LEFT - 8, place + _BAR * len(bars) / 2 + 4, title, "end"))
        for engine, ratio in bars:
            end = _x(ratio)
            size = f'width="{end - _LEFT:.1f}" height="{_BAR - 2}"'
            parts.append(f'<rect x="{_LEFT}" y="{place}" {size} fill="{_COLOURS[engine]}"/>')
            parts.append(_text(end + 4, place + _BAR - 3, number(ratio)))
            place += _BAR
        place += _GAP
    return _page(place, [*_legend(shown), *_grid(place), *parts])


def _x(ratio: float) -> float:
    share = (math.log10(ratio) - math.log10(_LOW)) / (math.log10(_HIGH) - math.log10(_LOW))
    return _LEFT + _WIDTH * min(1.0, max(0.004, share))


def _grid(bottom: float) -> list[str]:
    found = []
    for ratio in (0.1, 1.0, 10.0, 100.0):
        width = 2 if ratio == 1 else 1
        found.append(
            f'<path d="M{_x(ratio):.1f} 34V{bottom}" stroke="#888" stroke-opacity=".5" stroke-width="{width}"/>'
        )
        found.append(_text(_x(ratio), 30, "Squid ssl-bump = 1" if ratio == 1 else f"{ratio:g}", "middle"))
    return found


def _legend(engines: Sequence[str]) -> list[str]:
    found, place = [], 8
    for engine in engines:
        found.append(f'<rect x="{place}" y="5" width="11" height="11" fill="{_COLOURS[engine]}"/>')
        found.append(_text(place + 15, 15, engine))
        place += 30 + 8 * len(engine)
    return found


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#777">{escape(text)}</text>'


def _page(height: float, parts: list[str]) -> str:
    size = f'viewBox="0 0 {_LEFT + _WIDTH + 60} {height}" font-family="sans-serif" font-size="12"'
    title = "<title>CPU of the process tree, divided by that of Squid with ssl-bump</title>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{title}\n' + "\n".join(parts) + "\n</svg>\n"
