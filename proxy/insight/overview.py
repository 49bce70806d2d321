"""One pass over a log that answers what most people ask: hosts, credentials, models, sandboxes, days, oddities."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from proxy.insight.logs import Logs
from proxy.insight.prices import LLM_SUMS, PriceList, llm_keys, put_costs
from proxy.insight.scan import NOT_OURS, Scan, Since, quoted

_RECENT = timedelta(days=7)
_KEYS = {
    "day": "date_trunc('day', time)",
    "hour": "date_trunc('hour', time)",
    "sandbox": "sandbox",
    "host": "host",
    "method": "method",
    "verdict": "verdict",
    "reason": "reason",
    "credential": "credential",
    "sent_real": "injected",
    "policy": "policy",
    "rule": "rule",
}
_BY_HOUR = ["hour", "sandbox", "policy", "verdict"]
_BY_RULE = ["policy", "rule", "sandbox", "verdict"]
_SUMS = {
    "first": "min(time)",
    "last": "max(time)",
    "received": "sum(bytes_in)",
    "sent": "sum(bytes_out)",
    "named": "sum(strlen(path) + strlen(array_to_string(query_keys, '')))",
    "example": "min(id)",
    **LLM_SUMS,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked about: those since a time (UTC, without zone), of some sandboxes, under some policies."""

    since: datetime | None = None
    sandboxes: Sequence[str] = ()
    policies: Sequence[str] = ()

    @property
    def chosen(self) -> str:
        """SQL that is true for events of these sandboxes and policies, whenever they were."""
        named = (("sandbox", self.sandboxes), ("policy", self.policies))
        chosen = [f"coalesce({key} IN ({', '.join(map(quoted, names))}), false)" for key, names in named if names]
        return " AND ".join(chosen) or "true"


@dataclass(frozen=True, slots=True)
class Overview:
    """The result. `main`, `hours` and `rules` are tables in the database; `recent` says what counts as new, and why."""

    logs: Logs
    main: str
    hours: str
    rules: str
    prices: PriceList | None
    first: datetime | None
    last: datetime | None
    recent: datetime | None
    why_recent: str

    def ask(self, sql: str) -> list[Any]:
        """The rows of a query over the tables."""
        return self.logs.ask(sql)


def overview(logs: Logs, wanted: Wanted, mark: datetime | None = None) -> Overview:
    """Read the logs. `mark` is when somebody reviewed them last. Raises `ConfigError`."""
    keys = {**_KEYS, **llm_keys()}
    main = [key for key in keys if key not in ("hour", "rule")]
    sets = {"main": main, "hours": _BY_HOUR, "rules": _BY_RULE}
    scan = logs.scan(Scan(keys, sets, _SUMS, NOT_OURS, Since(time=wanted.since), wanted.chosen))
    prices = put_costs(logs, scan)
    for part in sets:
        logs.ask(f"CREATE OR REPLACE TEMP VIEW {part} AS SELECT * FROM {scan} WHERE part = '{part}'")
    ((begin, end),) = logs.ask("SELECT min(first), max(last) FROM main WHERE inside")
    recent, why = _recent(wanted, mark, begin, end)
    return Overview(logs, "main", "hours", "rules", prices, begin, end, recent, why)


def _recent(
    wanted: Wanted, mark: datetime | None, begin: datetime | None, end: datetime | None
) -> tuple[datetime | None, str]:
    """Since when something counts as new: what was asked, or the last review, or the last week or quarter."""
    if wanted.since is not None:
        return wanted.since, "--since"
    if mark is not None:
        return mark, "the last review"
    if begin is None or end is None:
        return None, ""
    span = end - begin
    return (end - _RECENT, "the last week") if span > 2 * _RECENT else (end - span / 4, "the last quarter of the log")
