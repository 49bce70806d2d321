"""The audit event, version 1: one flat record per exchange. A leaf module: it knows the exchange and nothing else.

Values of queries, headers and bodies are never part of it, but for what `llm` has of an answer; `path` is the raw path
without its query.
"""

import time
from datetime import UTC, datetime

from proxy.audit.sanitise import sanitise
from proxy.exchange import Exchange

VERSION = 1
MAX_KEYS = 32
MAX_KEY = 64

type Event = dict[str, object]


def event_of(exchange: Exchange, now: float | None = None) -> Event:
    """The record of an exchange. `now` is `time.monotonic()`; durations are milliseconds, sizes body bytes.

    `bytes_out` went to the upstream, `bytes_in` came from it; of a tunnel both count everything.
    """
    now = time.monotonic() if now is None else now
    decision = exchange.decision
    return {
        "v": VERSION,
        "id": exchange.id,
        "time": datetime.fromtimestamp(exchange.started_at, UTC).isoformat(timespec="milliseconds"),
        "sandbox": exchange.sandbox or None,
        "policy": exchange.policy.name or None,
        "policy_digest": exchange.policy.digest or None,
        "client": exchange.client,
        "boundary": exchange.boundary,
        "scheme": exchange.scheme,
        "method": sanitise(exchange.method, 32),
        "host": None if exchange.host is None else exchange.host.name,
        "port": exchange.port or None,
        "path": sanitise(exchange.path),
        "query_keys": [sanitise(key, MAX_KEY) for key in exchange.query_keys[:MAX_KEYS]],
        "verdict": "allow" if decision.allowed or exchange.sent else "deny",
        "reason": str(decision.reason),
        "rule": decision.rule,
        "nearest": decision.nearest,
        "detail": sanitise(_detail(exchange), 300),
        "credential": exchange.credential,
        "injected": exchange.injected,
        "not_injected": exchange.not_injected,
        "upstream_ip": exchange.upstream_ip,
        "tls": exchange.tls,
        "status": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "ttfb_ms": _milliseconds(exchange.started, exchange.first_byte),
        "duration_ms": _milliseconds(exchange.started, now),
        "end": exchange.end,
        "llm": None if exchange.meter is None else exchange.meter.report(over=bool(exchange.end)),
    }


def crashed(event: Event) -> Event:
    """The record of an exchange whose worker died, or could not write how it ended."""
    return {**event, "end": "crashed", "duration_ms": None, "detail": "the worker ended before it had recorded the end"}


def _detail(exchange: Exchange) -> str:
    repeated = f"refused {exchange.repeated} times" if exchange.repeated else ""
    return "; ".join(filter(None, (repeated, exchange.detail)))


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 3)
