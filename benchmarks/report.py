"""A run as text: for the terminal, and between the markers of docs/performance.md.

python -m benchmarks.report FILE            print the tables of a run
python -m benchmarks.report FILE --docs     make it the run that docs/performance.md shows
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.chart import chart
from benchmarks.targets import Rules

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results.json"
DOCUMENT = ROOT / "docs/performance.md"
CHART = ROOT / "docs/performance.svg"
BEGIN, END = "<!-- figures: made by `make bench DOCS=1`, not by hand -->", "<!-- end of figures -->"

_MARKS = """\
Busy for 90 % of the time: `*` a core of the load generator, `†` of the upstream, `‡` of the engine, `§` all cores.
"""


def rendered(run: Mapping[str, Any]) -> str:
    """All tables of a run, as Markdown."""
    results, titles, engines = run["results"], _titles(run), run["engines"]
    rules: Rules = run["rules"]
    parts = [
        _made_on(run),
        tables.targets(results, rules),
        tables.cpu(results, titles, engines),
        *((speeds, _MARKS) if (speeds := tables.speed(results, titles, engines, run["machine"]["cores"])) else ()),
        tables.latency(results, titles, engines),
        tables.memory(results, engines),
        _of_rules(rules),
        _notes(run),
    ]
    return "\n".join(part for part in parts if part)


def drawn(run: Mapping[str, Any]) -> str:
    """The chart of a run, as SVG."""
    return chart(run["results"], _titles(run), run["engines"])


def within(document: str, text: str) -> str:
    """The document with `text` between its markers. Raises `ValueError` if it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document has no markers")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def publish(run: Mapping[str, Any]) -> None:
    """Make it the run of docs/performance.md."""
    RESULTS.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(within(DOCUMENT.read_text(encoding="utf-8"), rendered(run)), encoding="utf-8")
    CHART.write_text(drawn(run), encoding="utf-8")


def _titles(run: Mapping[str, Any]) -> tables.Titles:
    return {name: (title, unit) for name, (title, unit) in run["works"].items()}


def _made_on(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    versions = dict.fromkeys(version for name, version in machine["versions"].items() if name != "direct")
    return (
        f"{machine['time']}, commit {machine['commit']}. {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Python {machine['python']}, {machine['openssl']}; "
        f"{', '.join(versions)}. Rounds: {run['rounds']}{', quick' if run['quick'] else ''}; "
        f"load average before them: {machine['load_before']}.\n"
    )


def _of_rules(rules: Rules) -> str:
    rows = []
    for count, found in sorted(rules.items(), key=lambda item: int(item[0])):
        cells = [tables.number(statistics.median(found[name])) for name in ("decide_us", "start_s")]
        rows.append((f"{int(count):,}", *cells))
    return tables.lines(("rules", "CPU for a decision, µs", "until it serves, s"), rows) if rows else ""


def _notes(run: Mapping[str, Any]) -> str:
    found = [f"- {name} was left out: {why}\n" for name, why in run["missing"].items()]
    found += [f"- {what} was given up: {why}\n" for what, why in run["failed"].items()]
    cores = run["machine"]["cores"]
    if cores < 4 and "workers" in run["results"]:
        found.append(f"- Two workers and the load generator shared {cores} cores, so neither had one of its own.\n")
    return "".join(found)


def main() -> None:
    """As the text above says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    run = json.loads(options.file.read_text(encoding="utf-8"))
    if options.docs:
        publish(run)
    else:
        print(rendered(run))


if __name__ == "__main__":
    main()
