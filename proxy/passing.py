"""What becomes of an answer on its way to the client: refused, or a head, a filter and a framing. For every engine."""

import time
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial

from proxy.answer import BodyFilter, Undecodable, accepts, coding_of, has_line_breaks, meter_of, returned
from proxy.credentials.scrub import Mask
from proxy.exchange import Exchange
from proxy.head import LENGTH, MAX_HEADERS, TOKEN, Fields, Head, Headers
from proxy.policy.reason import Reason

_MALFORMED = "the upstream's response head is malformed"


@dataclass(frozen=True)
class Answer(Fields):
    """A response head as it came. `version` is `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`."""

    status: int
    reason: bytes
    version: bytes
    headers: Headers

    @cached_property
    def in_doubt(self) -> bool:
        """Whether two readers could take the head for different ones (RFC 9112 sections 5 and 6)."""
        if (
            len(self.headers) > MAX_HEADERS
            or has_line_breaks(self.headers)
            or not all(TOKEN.fullmatch(name) for name, _ in self.headers)
        ):
            return True
        codings, lengths = self.values(b"transfer-encoding"), self.values(b"content-length")
        if codings:
            none = self.version != b"HTTP/1.1" or self.status < 200 or self.status == 204
            return none or bool(lengths) or [coding.strip(b" \t").lower() for coding in codings] != [b"chunked"]
        return len(lengths) > 1 or not all(map(LENGTH.fullmatch, lengths))


class Framing(Enum):
    """How the client learns where a body ends."""

    NONE = 0  # there is none
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3  # the connection, or its stream, ends with it


@dataclass(frozen=True, slots=True)
class Passing:
    """An answer that may pass: its reason phrase and headers, what its body goes through, how that is framed."""

    reason: bytes
    headers: Headers
    body: BodyFilter
    framing: Framing
    upgrade: bool


def let_pass(exchange: Exchange, answer: Answer, asked: Head, mask: Mask | None) -> Passing | None:
    """Prepare an answer for its client, or refuse its exchange and return None."""
    exchange.first_byte = time.monotonic()
    upgrade = answer.status == 101
    if answer.in_doubt or not (upgrade or 200 <= answer.status <= 599):
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, _MALFORMED)
        return None
    if upgrade and not _wanted(exchange, asked, answer):
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream switched protocols unasked")
        return None
    exchange.status = answer.status
    headers = returned(answer.headers, mask, upgrade=upgrade)
    exchange.meter = meter_of(exchange, answer.status, headers, mask)
    try:
        body = BodyFilter(mask, coding_of(headers), partial(_count, exchange), exchange.meter)
    except Undecodable as error:
        exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, str(error))
        return None
    framing = _framing(headers, asked, has_body=has_body(asked.method, answer.status), decoded=body.decodes)
    reason = answer.reason if mask is None else mask.apply(answer.reason)
    return Passing(reason, _framed(headers, framing, decoded=body.decodes), body, framing, upgrade)


def has_body(method: bytes, status: int) -> bool:
    """Whether an answer has a body, however long (RFC 9112 section 6.3)."""
    return method != b"HEAD" and status not in (101, 204, 304)


def _wanted(exchange: Exchange, asked: Head, answer: Answer) -> bool:
    """Whether the switch of protocols is the WebSocket that was asked for. HTTP/1.0 knows none."""
    key = next(iter(asked.values(b"sec-websocket-key")), b"")
    return exchange.websocket and answer.version == b"HTTP/1.1" and accepts(key, answer.headers)


def _count(exchange: Exchange, size: int) -> None:
    exchange.bytes_in += size


def _framing(headers: Headers, asked: Head, *, has_body: bool, decoded: bool) -> Framing:
    """A body is as long as it says, else chunked where the client's version has that.

    How the upstream framed it is between the two of us (RFC 9112 section 6.1).
    """
    if not has_body:
        return Framing.NONE
    if not decoded and any(name.lower() == b"content-length" for name, _ in headers):
        return Framing.LENGTH
    return Framing.CHUNKED if asked.version == b"HTTP/1.1" else Framing.CLOSE


def _framed(headers: Headers, framing: Framing, *, decoded: bool) -> Headers:
    dropped = {b"transfer-encoding"}
    if framing is not Framing.NONE and decoded:
        dropped |= {b"content-encoding", b"content-length"}
    # Nothing to decode where there is no body: HEAD, 204 and 304 keep the headers of the whole answer.
    kept = tuple(field for field in headers if field[0].lower() not in dropped)
    return (*kept, (b"transfer-encoding", b"chunked")) if framing is Framing.CHUNKED else kept
