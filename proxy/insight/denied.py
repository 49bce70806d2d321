"""What was refused, in groups, each with the rule that would allow it, or why no rule does."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from proxy.errors import OutgateError
from proxy.insight.logs import Logs
from proxy.insight.overview import Wanted
from proxy.insight.scan import NOT_OURS, Scan, Since
from proxy.insight.table import Answer, Column, Table
from proxy.policy.reason import WORDING, Reason
from proxy.quantity import counted
from proxy.review.change import WHY
from proxy.review.gather import gather
from proxy.review.replay import Filter
from proxy.review.seen import NotAnEvent, Seen, seen_of
from proxy.review.shapes import shape_of
from proxy.review.snippet import as_text
from proxy.review.suggest import suggest

MOST = 20  # groups
MAX_PATHS = 200  # requests of a group that its rule is made of, the most frequent first

_ASKED = ("scheme", "method", "host", "port", "path")
_GROUP = ("policy", "host", "port", "reason", "rule", "nearest")
_BY_A_RULE = frozenset(
    (
        Reason.HOST_NOT_ALLOWED,
        Reason.PORT_NOT_ALLOWED,
        Reason.SCHEME_NOT_ALLOWED,
        Reason.METHOD_NOT_ALLOWED,
        Reason.PATH_NOT_ALLOWED,
        Reason.ADDRESS_NOT_ALLOWED,
    )
)
COLUMNS = (
    Column("count", "refused", "count"),
    Column("reason", "reason"),
    Column("host", "host"),
    Column("port", "port"),
    Column("requests", "what was asked", "list"),
    Column("sandboxes", "sandboxes", "list"),
    Column("policy", "policy"),
    Column("fix", "what would help"),
    Column("rule", "rule", "code"),
    Column("first", "first", "time"),
    Column("last", "last", "time"),
    Column("example", "for example"),
)


def denied(logs: Logs, wanted: Wanted, today: date, most: int = MOST) -> Answer:
    """Refusals by policy, host, port and reason, the most frequent first."""
    keys = {key: key for key in (*_GROUP, "sandbox", "scheme", "method", "path")}
    keep, chosen = f"verdict = 'deny' AND {NOT_OURS}", f"inside AND {wanted.chosen}"
    sums = {"first": "min(time)", "last": "max(time)", "example": "min(id)"}
    scan = logs.scan(Scan(keys, {"main": list(keys)}, sums, keep, Since(time=wanted.since), chosen))
    ((count, groups),) = logs.ask(
        f"SELECT coalesce(sum(events), 0)::BIGINT, count(DISTINCT ({', '.join(_GROUP)})) FROM {scan}"
    )
    if not count:
        return Answer(["nothing was refused"], {"refused": 0})
    rows = [_row(logs, scan, group, today) for group in _groups(logs, scan, most)]
    table = Table("denied", "Refused", COLUMNS, rows, max(0, groups - len(rows)))
    answer = Answer([f"{counted(count, 'refusal')} in {counted(groups, 'group')}"], {"refused": count}, [table])
    for number, row in enumerate(rows, 1):
        if row[8]:
            answer.blocks.append((f"{number}. would allow {row[2]} ({row[1]}), in the policy {row[6] or '?'}:", row[8]))
    if answer.blocks:
        answer.last = "read a rule before you add it: that something was asked for is no reason to allow it"
    return answer


def _groups(logs: Logs, scan: str, most: int) -> list[tuple[Any, ...]]:
    return logs.ask(
        f"SELECT {', '.join(_GROUP)}, sum(events)::BIGINT AS count, min(first), max(last), min(example),"
        f" list(DISTINCT sandbox ORDER BY sandbox) FROM {scan}"
        f" GROUP BY ALL ORDER BY count DESC, 1, 2, 3, 4, 5, 6 LIMIT {most}"
    )


def _row(logs: Logs, scan: str, group: Sequence[Any], today: date) -> tuple[Any, ...]:
    policy, host, port, reason, rule, nearest, count, first, last, example, sandboxes = group
    same = " AND ".join(f"{key} IS NOT DISTINCT FROM ?" for key in _GROUP)
    asked = logs.ask(
        f"SELECT {', '.join(_ASKED)}, sum(events)::BIGINT AS count FROM {scan} WHERE {same}"
        f" GROUP BY ALL ORDER BY count DESC, 1, 2, 3, 4, 5 LIMIT {MAX_PATHS}",
        group[: len(_GROUP)],
    )
    text = _rules(asked, first, last, today) if reason in _BY_A_RULE else ""
    fix = "the rule below" if text else _words(reason, host=host, port=port, policy=policy, rule=rule, nearest=nearest)
    named = [name or "(unknown)" for name in sandboxes]
    return (count, reason, host, port, _shapes(asked), named, policy, fix, text, first, last, example)


def _shapes(asked: Sequence[Sequence[Any]]) -> list[str]:
    """Methods and path shapes, the most frequent first."""
    found: dict[str, int] = defaultdict(int)
    for _, method, _, _, path, count in asked:
        found[f"{method} {shape_of(path) if path else ''}".strip()] += count
    return sorted(found, key=lambda shape: -found[shape])


def _rules(asked: Sequence[Sequence[Any]], first: datetime, last: datetime, today: date) -> str:
    """The rules that would allow the requests, as entries of `allow`; empty if there are none."""
    seen = [each for each in (_seen(row[:-1], time) for row in asked for time in (first, last)) if each is not None]
    try:
        made = suggest(gather(seen, Filter(), None, today), None, today)
    except (OutgateError, RuntimeError):
        return ""
    return "\n".join(as_text(replace(rule.rule(), why=WHY)).rstrip() for rule in made.rules)


def _seen(asked: Sequence[Any], time: datetime) -> Seen | None:
    """The request as an event that passed."""
    given = dict(zip(_ASKED, asked, strict=True))
    if given["method"] == "CONNECT":  # whether a tunnel or requests in it were meant is not on record
        return None
    texts = dict.fromkeys(("id", "detail", "end"), "")
    try:
        return seen_of(
            {
                **texts,
                **given,
                "verdict": "allow",
                "reason": "allowed",
                "query_keys": [],
                "time": time.replace(tzinfo=UTC).isoformat(),
            }
        )
    except NotAnEvent:
        return None


def _words(reason: str, *, host: str | None, port: int | None, policy: str | None, **rules: str | None) -> str:
    """What helps where no new rule does."""
    if reason == Reason.DENIED_BY_RULE:
        return f"the deny rule {rules['rule']} forbids it, whatever another rule allows"
    if reason not in WORDING:
        return ""
    hint = WORDING[Reason(reason)].hint
    return hint.format(
        host=host or "the host", port=port, method="the method", path="the path", scheme="the scheme",
        policy=policy or "?", rule=rules["nearest"] or rules["rule"] or "?",
    )  # fmt: skip
