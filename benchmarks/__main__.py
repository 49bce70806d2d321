"""What the guard costs, beside what else could be put in its place: `make bench`. docs/performance.md explains it."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine, report, rules
from benchmarks.engines.engine import Engine, Site
from benchmarks.engines.registry import ENGINES
from benchmarks.figures import Results, gathered
from benchmarks.runner import ROOT, Bench, takes
from benchmarks.works import WORKS, Work
from tests.support.pki import Authority


def main() -> None:
    """Measure, print the tables, write the JSON."""
    options = _options()
    begun = time.monotonic()
    # Each connection is three descriptors or more, in engines as well: they inherit the limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen = [ENGINES[name] for name in options.engines or ENGINES]
    missing = {engine.name: why for engine in chosen if (why := engine.missing())}
    engines = tuple(engine for engine in chosen if engine.name not in missing)
    names = options.work or [name for name in (*WORKS, "rules") if not options.quick or _is_quick(name)]
    works = tuple(WORKS[name].sized(quick=options.quick) for name in names if name != "rules")
    run: dict[str, Any] = {
        "machine": machine.described(engines),
        "rounds": options.rounds,
        "quick": options.quick,
        "engines": [engine.name for engine in engines],
        "missing": missing,
        "works": {work.name: (work.title, work.unit) for work in works},
    }
    with opened_site(engines, works, options.rounds) as (site, upstream):
        bench = Bench(engines, works, options.rounds, site, upstream)
        run["results"] = _measure(bench)
        run["failed"] = {f"{engine} in {work}": why for (engine, work), why in bench.failed.items()}
        run["rules"] = rules.measured(site, min(2, options.rounds)) if "rules" in names else {}
    run["seconds"] = round(time.monotonic() - begun)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    if options.docs:
        report.publish(run)
    print(report.rendered(run))
    print(f"{run['seconds']} s; {options.out}", file=sys.stderr)


def _measure(bench: Bench) -> Results:
    results: Results = {}
    for work, engine, found in bench.samples():
        gathered(results, work, engine, found)
        print(f"{work:12} {engine:18} {found['cpu_ms']:10.4g} ms CPU {found['per_second']:10.4g}/s", file=sys.stderr)
    for engine, work in bench.failed:
        results.get(work, {}).pop(engine, None)  # rounds are compared one by one
    return results


@contextmanager
def opened_site(engines: Sequence[Engine], works: Sequence[Work], rounds: int) -> Iterator[tuple[Site, int]]:
    with tempfile.TemporaryDirectory(prefix="outgate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # Squid reads its configuration as another user
        authority = Authority(folder)
        leaf = authority.leaf("localhost", "*.bench.example")
        count = sum(work.hosts(rounds, sum(takes(engine, work) for engine in engines)) for work in works)
        command = [sys.executable, "-m", "benchmarks.upstream", str(leaf)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as upstream:
            assert upstream.stdout is not None
            try:
                ports = json.loads(upstream.stdout.readline())
                hosts = tuple(f"h{index}.bench.example" for index in range(count))
                yield Site(folder, authority.ca_file, ports, hosts), upstream.pid
            finally:
                upstream.kill()


def _is_quick(name: str) -> bool:
    return name in WORKS and WORKS[name].quick is not None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=_named((*WORKS, "rules")), metavar="NAME,...", help=", ".join((*WORKS, "rules")))
    parser.add_argument("--engines", type=_named(tuple(ENGINES)), metavar="NAME,...", help=", ".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="5, or 2 in a quick run")
    parser.add_argument("--quick", action="store_true", help="less of everything, and only the works that are short")
    parser.add_argument("--docs", action="store_true", help="make it the run that docs/performance.md shows")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build/bench.json", metavar="FILE", help="the figures as JSON"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def _named(known: Sequence[str]) -> Any:
    def names(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"no such name: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return names


if __name__ == "__main__":
    main()
