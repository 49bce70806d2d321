"""OTLP: log records of OpenTelemetry, as JSON lines that a collector reads from files.

Each line is a `LogsData` (opentelemetry.io/docs/specs/otel/protocol/file-exporter), with the names of the semantic
conventions 1.44 for HTTP, URL, TLS and (since then in a repository of their own) GenAI, where an event has what they
mean; the rest begins with `outgate.`.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from proxy.audit.export import Record, began, client, milliseconds, number

# The methods that the conventions know; another one is `_OTHER`, with its name beside it.
METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))
_OWN = (
    # Not `log.record.uid`: a collector may drop a second record of the same, and long exchanges have two.
    "id", "sandbox", "policy", "policy_digest", "boundary", "query_keys", "verdict", "reason", "rule", "nearest",
    "detail", "credential", "injected", "not_injected", "ttfb_ms", "duration_ms", "end", "seq", "chain",
)  # fmt: skip
_MODEL = {
    "model": "gen_ai.response.model",
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
}
_INFO, _WARN = 9, 13
_UPGRADED = 101
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def otlp(event: Record) -> Record:
    """An event as one log record of a `LogsData`."""
    time, allowed = began(event), event["verdict"] == "allow"
    record = {
        "timeUnixNano": _nanoseconds(time),
        "observedTimeUnixNano": _nanoseconds(time, milliseconds(event, "duration_ms") or 0),
        "severityNumber": _INFO if allowed else _WARN,
        "severityText": "INFO" if allowed else "WARN",
        "eventName": "outgate.exchange",
        "body": {"stringValue": _words(event)},
        "attributes": _pairs(_attributes(event)),
    }
    scope = {"scope": {"name": "outgate.audit", "version": str(event["v"])}, "logRecords": [record]}
    return {"resourceLogs": [{"resource": {"attributes": _pairs({"service.name": "outgate"})}, "scopeLogs": [scope]}]}


def _attributes(event: Record) -> Record:
    method, (address, port) = event["method"], client(event)
    known = method in METHODS
    llm = event.get("llm")
    llm = llm if isinstance(llm, dict) else {}
    return {
        "http.request.method": (method if known else "_OTHER") if method else None,
        "http.request.method_original": None if known else method,
        "http.response.status_code": number(event, "status"),
        "url.scheme": event["scheme"],
        "url.path": event["path"],
        "server.address": event["host"],
        "server.port": event["port"],
        "client.address": address,
        "client.port": port,
        "network.peer.address": event["upstream_ip"],
        "tls.protocol.version": str(event.get("tls") or "").removeprefix("TLSv"),
        "error.type": None if event["verdict"] == "allow" else event["reason"],
        **sizes(event),
        **{f"outgate.{key}": event.get(key) for key in _OWN},
        **{name: llm.get(key) for key, name in _MODEL.items()},
        "outgate.llm": {key: value for key, value in llm.items() if key not in _MODEL},
    }


def sizes(event: Record) -> Record:
    """The sizes of bodies, which are not what is counted of a tunnel or a WebSocket."""
    sent, received = number(event, "bytes_out"), number(event, "bytes_in")
    if event["method"] == "CONNECT" or event.get("status") == _UPGRADED:
        return {"outgate.bytes_out": sent, "outgate.bytes_in": received}
    return {"http.request.body.size": sent, "http.response.body.size": received}


def _words(event: Record) -> str:
    place = f"{event['scheme']}://{event['host'] or '?'}" if event["scheme"] else event["host"] or "?"
    words = [event["verdict"], event["method"], f"{place}{event['path']}"]
    return " ".join(word for word in [*words, "" if event["reason"] == "allowed" else event["reason"]] if word)


def _nanoseconds(time: datetime, after: float = 0) -> str:
    """Nanoseconds since 1970 as JSON has 64-bit numbers: as text. `0` says that it is not known."""
    found = (time - _EPOCH + timedelta(milliseconds=after)) // timedelta(microseconds=1) * 1000
    return str(found) if 0 < found < 1 << 64 else "0"


def _pairs(values: Record) -> list[Record]:
    """What says something, as OTLP's list of keys and values."""
    found = ((key, _value(value)) for key, value in values.items() if value not in (None, "", [], {}))
    return [{"key": key, "value": value} for key, value in found if value is not None]


def _value(value: Any) -> Record | None:
    """OTLP's form of a value (opentelemetry-proto, common.proto, `AnyValue`); None for one that has none."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if abs(value) < 1 << 63 else None
    if isinstance(value, float):
        return {"doubleValue": value} if math.isfinite(value) else None
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _pairs(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [found for each in value if (found := _value(each)) is not None]}}
    return None
