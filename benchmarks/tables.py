"""The figures as Markdown tables, for the terminal and for docs/performance.md alike. Pure."""

from collections.abc import Iterable, Sequence

from benchmarks.figures import Results, compared, median, spread
from benchmarks.targets import TARGETS, Rules

BUSY = 0.9  # of a core: who has no more to give

# work -> (title, unit), in the order of the tables
type Titles = dict[str, tuple[str, str]]


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def has_cpu(work: str) -> bool:
    """Whether CPU for each unit says something of it: idle connections do nothing, and two workers are not one."""
    return not work.startswith(("idle", "workers"))


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for the terminal. Columns without a cell are left out, as is a table
    without a row."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    told = [column for column in range(len(head)) if any(row[column] for row in cells)]
    table = [[row[column] for column in told] for row in (list(head), *cells)]
    widths = [max(len(row[column]) for row in table) for column in range(len(told))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
    texts = [f"| {' | '.join(row)} |" for row in padded]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]]) + "\n"


def targets(results: Results, rules: Rules) -> str:
    """Each target with what was measured: the median, and least and most of the rounds."""
    rows = []
    for target in TARGETS:
        if target.work not in results and not (target.work == "rules" and rules):
            continue
        bound = f"{'≥' if target.least else '≤'} {target.limit:g} {target.unit}"
        values = target.measured(results, rules)
        if not values:
            rows.append((target.title, bound, "not measured", "", ""))
            continue
        least, middle, most = spread(values)
        met = "yes" if target.met(values) else "**no**"
        rows.append((target.title, bound, number(middle), f"{number(least)} to {number(most)}", met))
    return lines(("target", "", "measured", "spread", "met"), rows)


def cpu(results: Results, titles: Titles, engines: Sequence[str]) -> str:
    """CPU milliseconds of the process tree for each unit; Outgate beside Squid with the spread of the ratio."""
    shown = [engine for engine in engines if engine not in {"direct", "outgate-2-workers"}]
    rows = []
    for work, (title, unit) in titles.items():
        cells = [_cell(results, work, engine, "cpu_ms") for engine in shown]
        if any(cells) and has_cpu(work):
            rows.append((f"{title}, ms per {unit}", *cells, _ratio(results, work)))
    return lines(("CPU", *shown, "outgate ÷ squid"), rows)


def speed(results: Results, titles: Titles, engines: Sequence[str], cores: int) -> str:
    """Units in a second, with a mark for who had no more to give (`_marks`)."""
    rows = []
    for work, (title, _) in titles.items():
        # Where the load sets the pace, how much was done says nothing.
        if work.startswith(("sse", "idle", "paced")):
            continue
        cells = [
            _cell(results, work, engine, "per_second") + _marks(results, work, engine, cores) for engine in engines
        ]
        if any(cells):
            rows.append((title, *cells))
    return lines(("in a second", *engines), rows)


def latency(results: Results, titles: Titles, engines: Sequence[str]) -> str:
    """p50 / p99 in milliseconds of single requests, first bytes and events, where the load sets the pace."""
    rows = []
    for work in ("paced", "first", "sse500", "sse2000"):
        if work not in titles or work not in results:
            continue
        cells = []
        for engine in engines:
            half, most = (median(results, work, engine, figure) for figure in ("p50_ms", "p99_ms"))
            cells.append("" if half is None or most is None else f"{number(half)} / {number(most)}")
        rows.append((titles[work][0], *cells))
    return lines(("p50 / p99, ms", *engines), rows)


def memory(results: Results, engines: Sequence[str]) -> str:
    """Of the process tree: what one connection holds, and the most after the other works."""
    shown = [engine for engine in engines if engine not in {"direct", "outgate-2-workers"}]
    held = [
        (f"{title}, KB", *(_cell(results, work, engine, "held_kb") for engine in shown))
        for work, title in (("idle", "one idle connection"), ("idletunnels", "one idle tunnel"))
    ]
    most = [
        (f"{title}, MiB", *(_most(results, engine, figure) for engine in shown))
        for figure, title in (("pss_mib", "all, PSS"), ("peak_mib", "all, peak of RSS"))
    ]
    return lines(("memory", *shown), [row for row in (*held, *most) if any(row[1:])])


def _cell(results: Results, work: str, engine: str, figure: str) -> str:
    value = median(results, work, engine, figure)
    return "" if value is None else number(value)


def _marks(results: Results, work: str, engine: str, cores: int) -> str:
    """`*`: the load generator was busy, `†`: the upstream, `‡`: the engine itself, `§`: all cores together."""
    busy = [median(results, work, engine, figure) or 0.0 for figure in ("load_busy", "upstream_busy", "engine_busy")]
    found = "".join(sign for share, sign in zip(busy, "*†‡", strict=True) if share >= BUSY)
    return found + ("§" if sum(busy) >= BUSY * cores else "")


def _ratio(results: Results, work: str) -> str:
    values = compared(results, work, "cpu_ms", ("outgate", "squid"))
    if not values:
        return ""
    least, middle, most = spread(values)
    return f"{number(middle)} ({number(least)} to {number(most)})"


def _most(results: Results, engine: str, figure: str) -> str:
    values = [value for work in results.values() for value in work.get(engine, {}).get(figure, [])]
    return number(max(values)) if values else ""
