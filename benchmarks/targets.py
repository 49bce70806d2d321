"""The targets of the project, each beside what was measured. Pure; a target is never moved to meet it."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Results, compared, spread

# By number of rules: figure -> its value in each round.
type Rules = dict[str, dict[str, list[float]]]

type Figure = Callable[[Results, Rules, str], list[float] | None]


@dataclass(frozen=True)
class Target:
    """`limit` is the most that meets it, or with `least` the least. `values` are the figure of each round, or None."""

    title: str
    work: str
    limit: float
    unit: str
    values: Figure
    least: bool = False

    def measured(self, results: Results, rules: Rules) -> list[float] | None:
        """The figure in each round, or None where it was not measured."""
        return self.values(results, rules, self.work)

    def met(self, values: list[float]) -> bool:
        """By the median over the rounds."""
        middle = spread(values)[1]
        return middle >= self.limit if self.least else middle <= self.limit


def ratio(other: str, engine: str = "outgate") -> Figure:
    """CPU of an engine beside that of another one."""
    return lambda results, _, work: compared(results, work, "cpu_ms", (engine, other))


def added(figure: str) -> Figure:
    """What the proxy adds to the direct connection."""
    return lambda results, _, work: compared(results, work, figure, ("outgate", "direct"), added=True)


def plain(figure: str) -> Figure:
    """A figure of Outgate's by itself."""
    return lambda results, _, work: results.get(work, {}).get("outgate", {}).get(figure)


def _workers(results: Results, _: Rules, work: str) -> list[float] | None:
    return compared(results, work, "per_second", ("outgate-2-workers", "outgate"))


def _decisions(_: Results, rules: Rules, __: str) -> list[float] | None:
    if not rules:
        return None
    few, many = (rules[count]["decide_us"] for count in sorted(rules, key=int))
    return [one / other for one, other in zip(many, few, strict=True)]


def _start(_: Results, rules: Rules, __: str) -> list[float] | None:
    return rules[max(rules, key=int)]["start_s"] if rules else None


_BUMP = "CPU ÷ Squid ssl-bump"
_LANE, _STOCK = "mitmproxy lane, ", "CPU ÷ stock mitmdump"
TARGETS = (
    Target(f"kept connection: {_BUMP}", "keepalive", 1.0, "x", ratio("squid")),
    Target(f"new connection: {_BUMP}", "newconn", 0.6, "x", ratio("squid")),
    Target(f"download of 100 MB: {_BUMP}", "download", 0.6, "x", ratio("squid")),
    Target(f"upload of 100 MB: {_BUMP}", "upload", 0.6, "x", ratio("squid")),
    Target(f"refused https request: {_BUMP}", "refused", 1.0, "x", ratio("squid")),
    Target(f"refused http request: {_BUMP}", "refusedplain", 1.0, "x", ratio("squid")),
    Target(f"{_LANE}kept connection: {_STOCK}", "keepalive", 0.4, "x", ratio("mitmdump", "outgate-mitmproxy")),
    Target(f"{_LANE}new connection: {_STOCK}", "newconn", 0.5, "x", ratio("mitmdump", "outgate-mitmproxy")),
    Target("added p99 at 500 requests/s", "paced", 2.0, "ms", added("p99_ms")),
    Target("added time to the first byte of a stream", "first", 1.0, "ms", added("p50_ms")),
    Target("CPU for each event, 500 streams", "sse500", 0.05, "ms", plain("cpu_ms")),
    Target("CPU for each event, 2,000 streams", "sse2000", 0.05, "ms", plain("cpu_ms")),
    Target("tunnel, new connection: CPU ÷ Squid tunnel", "tunnels", 1.0, "x", ratio("squid-tunnel")),
    Target("tunnel, 100 MB: CPU ÷ Squid tunnel", "tunnelbytes", 1.3, "x", ratio("squid-tunnel")),
    Target("memory of an idle connection", "idle", 60.0, "KB", plain("held_kb")),
    Target("memory of an idle tunnel", "idletunnels", 20.0, "KB", plain("held_kb")),
    Target("throughput of two workers ÷ one", "workers", 1.8, "x", _workers, least=True),
    Target("CPU for a decision, 100,000 rules ÷ 10", "rules", 1.1, "x", _decisions),
    Target("start with 100,000 rules", "rules", 1.0, "s", _start),
)
