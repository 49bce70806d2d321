"""What becomes of an answer on its way to the client: refused, or a head of its own, a filter and a framing. Pure."""

import re
import time
from dataclasses import dataclass
from enum import Enum

from proxy.answer import BodyFilter, Undecodable, accepts, coding_of, has_line_breaks, meter_of, returned
from proxy.credentials.scrub import Mask
from proxy.exchange import Exchange
from proxy.fastlane.parse import Answer
from proxy.head import Head
from proxy.policy.reason import Reason

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Framing(Enum):
    """How the client learns where a body ends."""

    NONE = 0  # there is none
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3  # the connection ends with it


@dataclass(frozen=True, slots=True)
class Passing:
    """An answer that may pass: its head in bytes, what its body goes through, how that is framed."""

    head: bytes
    body: BodyFilter
    framing: Framing
    upgrade: bool


def let_pass(exchange: Exchange, answer: Answer, asked: Head, mask: Mask | None) -> Passing | None:
    """Prepare an answer for its client, or refuse its exchange and return None."""
    exchange.first_byte = time.monotonic()
    upgrade = answer.status == 101
    legible = not has_line_breaks(answer.headers) and all(_TOKEN.fullmatch(name) for name, _ in answer.headers)
    if not legible or not (upgrade or 200 <= answer.status <= 599):
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream's response head is malformed")
        return None
    if upgrade and not (exchange.websocket and accepts(_key(asked), answer.headers)):
        exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, "the upstream switched protocols unasked")
        return None
    exchange.status = answer.status
    headers = returned(answer.headers, mask, upgrade=upgrade)
    exchange.meter = meter_of(exchange, answer.status, headers, mask)
    try:
        body = BodyFilter(mask, coding_of(headers), lambda size: _count(exchange, size), exchange.meter)
    except Undecodable as error:
        exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, str(error))
        return None
    has_body = asked.method != b"HEAD" and answer.status not in (101, 204, 304)
    dropped, framing = _frame(headers, asked, has_body=has_body, decoded=body.decodes)
    reason = answer.reason if mask is None else mask.apply(answer.reason)
    lines = [b"HTTP/1.1 %d %s" % (answer.status, reason)]
    lines += [name + b": " + value for name, value in headers if name.lower() not in dropped]
    if framing is Framing.CHUNKED:
        lines.append(b"transfer-encoding: chunked")
    return Passing(b"\r\n".join([*lines, b"", b""]), body, framing, upgrade)


def _key(asked: Head) -> bytes:
    return next(iter(asked.values(b"sec-websocket-key")), b"")


def _count(exchange: Exchange, size: int) -> None:
    exchange.bytes_in += size


def _frame(
    headers: tuple[tuple[bytes, bytes], ...], asked: Head, *, has_body: bool, decoded: bool
) -> tuple[frozenset[bytes], Framing]:
    """Fields that must go, and how the body is framed for this client (RFC 9112 section 6.1)."""
    if not has_body:
        # Nothing to decode: HEAD, 204 and 304 keep the headers of the whole answer.
        return frozenset((b"transfer-encoding",)), Framing.NONE
    names = {name.lower() for name, _ in headers}
    dropped = {b"transfer-encoding"}
    if decoded:
        dropped |= {b"content-encoding", b"content-length"}
    if b"content-length" in names and b"transfer-encoding" not in names and not decoded:
        return frozenset(dropped), Framing.LENGTH
    dropped.add(b"content-length")
    return frozenset(dropped), Framing.CHUNKED if asked.version == b"HTTP/1.1" else Framing.CLOSE
