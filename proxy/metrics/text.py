"""Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.metrics.counters import BOUNDS, MAX_NAMES
from proxy.policy.reason import Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RELOADS = ("loaded", "reloaded", "kept")

type Values = Mapping[str, Any]
type Labels = Mapping[str, object]
type Samples = Iterable[tuple[Labels, float]]


def exposition(workers: Sequence[Values], supervisor: Values, checkpoint_age: float | None) -> str:
    """Everything that is measured. `workers` and `supervisor` are what they put on their boards.

    `checkpoint_age` is in seconds; None if there is no checkpoint.
    """
    there = [each for each in workers if each]
    lines: list[str] = []

    def add(name: str, kind: str, about: str, samples: Samples) -> None:
        lines.extend(_metric(name, kind, about, samples))

    add(
        "outgate_decisions_total",
        "counter",
        "Exchanges that ended, by verdict and reason of their event.",
        _decisions(there),
    )
    add(
        "outgate_credentials_total",
        "counter",
        "Requests for which a credential was due, by its name and what became of it.",
        _credentials(there),
    )
    add(
        "outgate_upstream_received_bytes_total",
        "counter",
        "Bytes from upstreams, as in events.",
        _sum(there, "bytes", 0),
    )
    add("outgate_upstream_sent_bytes_total", "counter", "Bytes to upstreams, as in events.", _sum(there, "bytes", 1))
    lines += _histogram(
        "outgate_decision_seconds",
        "From a request's head to its decision on record: what Outgate adds before it dials.",
        there,
    )
    add("outgate_connections", "gauge", "Client connections that are open.", _sum(there, "connections"))
    add("outgate_exchanges_open", "gauge", "Requests, tunnels and streams that are under way.", _sum(there, "open"))
    add("outgate_workers", "gauge", "Worker processes that run.", [({}, supervisor.get("workers", 0))])
    add(
        "outgate_workers_configured",
        "gauge",
        "Worker processes that should run.",
        [({}, supervisor.get("configured", 0))],
    )
    add(
        "outgate_worker_ends_total",
        "counter",
        "Workers that ended and had to be replaced.",
        [({}, supervisor.get("ended", 0))],
    )
    add(
        "outgate_exchanges_crashed_total",
        "counter",
        "Exchanges that a worker left unfinished when it ended.",
        [({}, supervisor.get("crashed", 0))],
    )
    add(
        "outgate_policy_info",
        "gauge",
        "Workers that serve a policy, by its digest. Two digests of one name are a reload that is not through.",
        _policies(there),
    )
    add(
        "outgate_reload_result",
        "gauge",
        "How the policies in force came to be; `kept` says that newer ones were not taken.",
        _reload(supervisor),
    )
    add(
        "outgate_audit_waiting_events",
        "gauge",
        "Events that could not be written to the audit log yet; above 0, nothing is forwarded.",
        _sum(there, "waiting"),
    )
    add(
        "outgate_audit_lag_seconds",
        "gauge",
        "For how long the oldest of them has been waiting, over all workers.",
        [({}, max((each["lag"] for each in there), default=0.0))],
    )
    if checkpoint_age is not None:
        add(
            "outgate_audit_checkpoint_age_seconds",
            "gauge",
            "Since the last signed checkpoint of the audit log. It stands while nothing is written.",
            [({}, checkpoint_age)],
        )
    return "".join(f"{line}\n" for line in lines)  # fmt: skip


def _metric(name: str, kind: str, about: str, samples: Samples) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *(_sample(name, *each) for each in samples)]


def _sample(name: str, labels: Labels, value: float) -> str:
    named = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in labels.items())
    return f"{name}{{{named}}} {value}" if named else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _sum(workers: Sequence[Values], key: str, index: int | None = None) -> Samples:
    return [({}, sum(each[key] if index is None else each[key][index] for each in workers))]


def _decisions(workers: Sequence[Values]) -> Samples:
    """Every denial has a series from the start, so that its first one is an increase."""
    found: Counter[tuple[str, str]] = Counter({("deny", str(each)): 0 for each in Reason if each is not Reason.ALLOWED})
    found["allow", str(Reason.ALLOWED)] = 0
    for each in workers:
        for verdict, reason, count in each["decisions"]:
            found[verdict, reason] += count
    return [({"verdict": verdict, "reason": reason}, count) for (verdict, reason), count in sorted(found.items())]


def _credentials(workers: Sequence[Values]) -> Samples:
    found: Counter[tuple[str, str]] = Counter()
    for each in workers:
        for name, outcome, count in each["credentials"]:
            found[name, outcome] += count
    return [({"credential": name, "outcome": outcome}, count) for (name, outcome), count in sorted(found.items())]


def _policies(workers: Sequence[Values]) -> Samples:
    found = Counter((name, digest) for each in workers for name, digest in each["policies"].items())
    return [({"policy": name, "digest": digest}, count) for (name, digest), count in sorted(found.items())[:MAX_NAMES]]


def _reload(supervisor: Values) -> Samples:
    return [({"result": result}, int(supervisor.get("reload") == result)) for result in RELOADS]


def _histogram(name: str, about: str, workers: Sequence[Values]) -> list[str]:
    lines, total = [f"# HELP {name} {about}", f"# TYPE {name} histogram"], 0
    for number, bound in enumerate((*(f"{each:g}" for each in BOUNDS), "+Inf")):
        total += sum(each["buckets"][number] for each in workers)
        lines.append(_sample(f"{name}_bucket", {"le": bound}, total))
    return [
        *lines,
        _sample(f"{name}_sum", {}, sum(each["seconds"] for each in workers)),
        _sample(f"{name}_count", {}, total),
    ]
