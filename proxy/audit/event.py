"""The audit event, version 1: one flat record per exchange. A leaf module: it knows the exchange and nothing else.

Values of queries, headers and bodies are never part of it, but for what `llm` has of an answer; `path` is the raw path
without its query.
"""

import json
import time
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted

from proxy.audit.sanitise import sanitise
from proxy.exchange import Exchange

VERSION = 1
MAX_KEYS = 32
MAX_KEY = 64

type Event = dict[str, object]

_OUTCOME = b',"verdict":'  # where the second half of a line begins
to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def event_of(exchange: Exchange, now: float | None = None) -> Event:
    """The record of an exchange. `now` is `time.monotonic()`; durations are milliseconds, sizes body bytes.

    `bytes_out` went to the upstream, `bytes_in` came from it; of a tunnel both count everything.
    """
    event: Event = json.loads(line_of(exchange, now))
    return event


def line_of(exchange: Exchange, now: float | None = None, end: str = "") -> bytes:
    """The record as a line of compact ASCII JSON. `end` says how it ended instead of what the exchange says.

    Written field by field, as every request pays for it: a test holds it to what `json` makes of the same values.
    """
    return (_asked(exchange) + _outcome(exchange, now, end)).encode()


def last_line(begun: bytes, exchange: Exchange) -> bytes:
    """The record of an exchange that an earlier line tells of: what was asked does not change once it is decided."""
    # With its quotes, a name of a field stands in no text.
    return begun[: begun.index(_OUTCOME)] + _outcome(exchange, None, "").encode()


def _asked(exchange: Exchange) -> str:
    began = datetime.fromtimestamp(exchange.started_at, UTC).isoformat(timespec="milliseconds")
    policy, host = exchange.policy, exchange.host
    keys = ",".join([_quoted(sanitise(key, MAX_KEY)) for key in exchange.query_keys[:MAX_KEYS]])
    return (
        f'{{"v":{VERSION}'
        f',"id":{_quoted(exchange.id)}'
        f',"time":"{began}"'
        f',"sandbox":{_text(exchange.sandbox or None)}'
        f',"policy":{_text(policy.name or None)}'
        f',"policy_digest":{_text(policy.digest or None)}'
        f',"client":{_quoted(exchange.client)}'
        f',"boundary":{_text(exchange.boundary)}'
        f',"scheme":{_quoted(exchange.scheme)}'
        f',"method":{_quoted(sanitise(exchange.method, 32))}'
        f',"host":{_text(None if host is None else host.name)}'
        f',"port":{exchange.port or "null"}'
        f',"path":{_quoted(sanitise(exchange.path))}'
        f',"query_keys":[{keys}]'
    )


def _outcome(exchange: Exchange, now: float | None, end: str) -> str:
    now = time.monotonic() if now is None else now
    decision, meter = exchange.decision, exchange.meter
    verdict = "allow" if decision.allowed or exchange.sent else "deny"
    return (
        f',"verdict":"{verdict}"'
        f',"reason":"{decision.reason}"'
        f',"rule":{_text(decision.rule)}'
        f',"nearest":{_text(decision.nearest)}'
        f',"detail":{_quoted(sanitise(_detail(exchange), 300))}'
        f',"credential":{_text(exchange.credential)}'
        f',"injected":{"true" if exchange.injected else "false"}'
        f',"not_injected":{_text(exchange.not_injected)}'
        f',"upstream_ip":{_text(exchange.upstream_ip)}'
        f',"tls":{_text(exchange.tls)}'
        f',"status":{_number(exchange.status)}'
        f',"bytes_in":{exchange.bytes_in}'
        f',"bytes_out":{exchange.bytes_out}'
        f',"ttfb_ms":{_milliseconds(exchange.started, exchange.first_byte)}'
        f',"duration_ms":{_milliseconds(exchange.started, now)}'
        f',"end":{_quoted(end or exchange.end)}'
        f',"llm":{"null" if meter is None else to_json(meter.report(over=bool(exchange.end)))}}}\n'
    )


def crashed(event: Event) -> Event:
    """The record of an exchange whose worker died, or could not write how it ended."""
    return {**event, "end": "crashed", "duration_ms": None, "detail": "the worker ended before it had recorded the end"}


def _detail(exchange: Exchange) -> str:
    if not exchange.repeated:
        return exchange.detail
    return "; ".join(filter(None, (f"refused {exchange.repeated} times", exchange.detail)))


def _milliseconds(start: float, end: float | None) -> str:
    return "null" if end is None else repr(round((end - start) * 1000, 3))


def _text(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def _number(number: int | None) -> str:
    return "null" if number is None else str(number)
