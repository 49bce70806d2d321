"""Spans of OpenTelemetry, made of events that are on record. Needs the extra `otel`.

Names are those of the semantic conventions for HTTP spans (opentelemetry.io/docs/specs/semconv/http/http-spans), the
rest begins with `outgate.`. Ids come from the id of the event alone: a sandbox has no say in them, its `traceparent` is
not on record, and what is sent twice is the same span.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy.audit.export import Record, began, client, milliseconds, number
from proxy.audit.export.otlp import METHODS, sizes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_USUAL = {"https": 443, "http": 80}
_OWN = (
    "id", "sandbox", "policy", "boundary", "verdict", "reason", "rule", "nearest", "credential", "injected", "end",
)  # fmt: skip
_LONGEST = 4096
_BROKEN = frozenset(("aborted", "crashed", "upstream_closed"))
_RESOURCE = Resource({"service.name": "outgate"})
_SCOPE = InstrumentationScope("outgate.audit")


def spans(event: Record) -> Iterator[ReadableSpan]:
    """The span of an exchange that ended, and below it that of its part upstream, if there was one."""
    if event["end"] == "open" or (trace := _trace_of(event["id"])) == 0:
        return
    place = {"server.address": event["host"], "server.port": number(event, "port"), **_method(event)}
    status, address = number(event, "status"), client(event)
    here = _context(trace, "exchange")
    failed = (status or 0) >= 500 or event["end"] in _BROKEN
    llm = event.get("llm")
    yield _span(
        event, SpanKind.SERVER, here, None, failed,
        {
            **place, **sizes(event),
            "url.scheme": event["scheme"], "url.path": event["path"], "http.response.status_code": status,
            "client.address": address[0], "client.port": address[1], "network.peer.address": address[0],
            "error.type": _wrong(event, status) if failed or event["verdict"] == "deny" else None,
            **{f"outgate.{key}": event.get(key) for key in _OWN},
            "gen_ai.response.model": llm.get("model") if isinstance(llm, dict) else None,
        },
    )  # fmt: skip
    if event["upstream_ip"]:
        failed = (status or 0) >= 400 or event["verdict"] == "deny" or event["end"] in _BROKEN
        yield _span(
            event, SpanKind.CLIENT, _context(trace, "upstream"), here, failed,
            {
                **place,
                "url.full": _url(event), "network.peer.address": event["upstream_ip"],
                "http.response.status_code": status if event["verdict"] == "allow" else None,
                "tls.protocol.version": str(event.get("tls") or "").removeprefix("TLSv"),
                "outgate.ttfb_ms": milliseconds(event, "ttfb_ms"),
                "error.type": _wrong(event, status) if failed else None,
            },
        )  # fmt: skip


def _span(  # noqa: PLR0913, PLR0917  what a span is
    event: Record, kind: SpanKind, own: SpanContext, parent: SpanContext | None, failed: bool, attributes: Record
) -> ReadableSpan:
    start = max(0, (began(event) - _EPOCH) // timedelta(microseconds=1)) * 1000
    method = event["method"]
    return ReadableSpan(
        name=method if method in METHODS else "HTTP",
        context=own,
        parent=parent,
        resource=_RESOURCE,
        attributes={key: _cut(value) for key, value in attributes.items() if _fits(value)},
        kind=kind,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=start,
        end_time=start + int((milliseconds(event, "duration_ms") or 0) * 1_000_000),
        instrumentation_scope=_SCOPE,
    )


def _fits(value: Any) -> bool:
    """Whether a value says something that OTLP has a form for: its whole numbers have 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1 << 63
    return value not in (None, "") and isinstance(value, str | bool | float)


def _cut(value: Any) -> Any:
    """Text that no event of ours is longer than: a log may hold anything, and one request has a bound."""
    return value[:_LONGEST] if isinstance(value, str) else value


def _method(event: Record) -> Record:
    method = event["method"]
    known = method in METHODS
    return {
        "http.request.method": (method if known else "_OTHER") if method else None,
        "http.request.method_original": None if known else method,
    }


def _wrong(event: Record, status: int | None) -> str:
    """A word from a closed list: a reason, how it ended, or a status."""
    if event["verdict"] == "deny" or event["reason"] != "allowed":
        return str(event["reason"])
    return str(event["end"]) if event["end"] in _BROKEN else str(status)


def _url(event: Record) -> str:
    if not event["scheme"] or not event["host"]:
        return ""
    host = f"[{event['host']}]" if ":" in event["host"] else event["host"]
    port = "" if event.get("port") in (None, _USUAL.get(event["scheme"])) else f":{event['port']}"
    return f"{event['scheme']}://{host}{port}{event['path']}"


def _trace_of(text: str) -> int:
    """The 128 bits of a ULID, which are a trace id as they are; 0 for what is none."""
    if len(text) != 26 or text[0] > "7" or set(text) - set(_DIGITS):
        return 0
    value = 0
    for digit in text:
        value = value << 5 | _DIGITS.index(digit)
    return value


def _context(trace: int, part: str) -> SpanContext:
    digest = hashlib.sha256(trace.to_bytes(16) + part.encode()).digest()
    return SpanContext(trace, int.from_bytes(digest[:8]) or 1, is_remote=False, trace_flags=TraceFlags(1))
