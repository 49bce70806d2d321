"""One answer of outgate.internal, as JSON or as plain text. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from proxy.exchange import Exchange
from proxy.policy.host import INTERNAL
from proxy.policy.reason import Reason
from proxy.refusal import Response
from proxy.refusal.facts import Facts, visible

_RANGE = re.compile(r"\s*([\w*.+-]+/[\w*.+-]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?(?:;[^,]*)?", re.ASCII)
_MAX_ACCEPT = 1000
_LINE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is answered: a status, JSON values by name, and header fields of its own."""

    status: int = 200
    content: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()


def problem(
    exchange: Exchange, status: int, detail: str, hint: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Page:
    """An answer that says no, with the members of a refusal. What the client sent is not repeated in it."""
    facts = Facts(
        # The two reasons that hold whatever the policy says.
        reason=Reason.LIMIT_EXCEEDED if status == HTTPStatus.TOO_MANY_REQUESTS else Reason.MALFORMED_REQUEST,
        host=INTERNAL,
        method=None,
        path=None,
        rule=None,
        policy=visible(exchange.policy.name, 300),
        detail=detail,
        hint=hint,
        audit_id=exchange.id,
    )
    return Page(status=status, content=facts.problem(status), headers=headers)


def response_of(page: Page, *, text: bool, head: bool) -> Response:
    """The page as bytes; `text` for plain text, `head` for the answer to a HEAD request."""
    if text:
        kind, body = b"text/plain; charset=utf-8", "".join(f"{line}\n" for line in _lines(page.content)).encode("ascii")
    else:
        kind = b"application/problem+json" if page.status >= 400 else b"application/json"
        body = json.dumps(page.content, indent=1).encode("ascii") + b"\n"
    headers = (
        (b"content-type", kind),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept"),
        (b"proxy-status", b"outgate"),  # RFC 9209: who made this answer
        *page.headers,
    )
    if head:
        return Response(page.status, HTTPStatus(page.status).phrase, headers, b"")
    length = (b"content-length", str(len(body)).encode())
    return Response(page.status, HTTPStatus(page.status).phrase, (*headers, length), body)


def prefers_text(accept: list[bytes]) -> bool:
    """Whether a client asks for text above all (RFC 9110, section 12.5.1). Who takes anything gets JSON."""
    weights: dict[str, float] = {}
    for part in b",".join(accept)[:_MAX_ACCEPT].decode("latin-1").lower().split(","):
        match = _RANGE.fullmatch(part)
        if match is not None:
            weights[match[1]] = float(match[2] or 1)
    plain = max(weights.get("text/plain", 0), weights.get("text/*", 0))
    return plain > max(weights.get("application/json", 0), weights.get("application/*", 0)) and plain > 0


def _lines(value: object, indent: int = 0) -> Iterator[str]:
    pad = " " * indent
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _nested(item):
                yield f"{pad}{key}:"
                yield from _lines(item, indent + 2)
            else:
                yield f"{pad}{key}: {_word(item)}"
    elif isinstance(value, list):
        for item in value:
            first, *rest = _lines(item, indent + 2) if _nested(item) else [f"{pad}  {_word(item)}"]
            yield f"{pad}- {first.lstrip()}"
            yield from rest


def _nested(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value)


def _word(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "none"
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value), _LINE)
