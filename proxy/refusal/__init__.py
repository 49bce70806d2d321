"""The refusal: what a client gets instead of what it asked for, in the form that it shows to its user. Pure.

The contract stands in docs/refusals.md.
"""

import json
from dataclasses import dataclass

from proxy.exchange import Exchange
from proxy.policy.reason import Reason
from proxy.refusal.dialect import SHAPES, Dialect, dialect_of, git_text
from proxy.refusal.facts import Facts, facts_of, visible

type Headers = tuple[tuple[bytes, bytes], ...]

NOTICE_LIMIT = 500
RETRY_AFTER = b"5"

# RFC 9209, section 2.3. What is not an outage was denied by configuration, the type of all the other reasons.
_ERROR_TYPES = {
    Reason.MALFORMED_REQUEST: "http_request_error",
    Reason.UPSTREAM_UNREACHABLE: "destination_unavailable",
    Reason.UPSTREAM_UNVERIFIED: "tls_certificate_error",
    Reason.CREDENTIAL_UNAVAILABLE: "proxy_configuration_error",
    Reason.POLICY_ERROR: "proxy_configuration_error",
    Reason.AUDIT_UNAVAILABLE: "proxy_internal_error",
}
# github.com/grpc/grpc/blob/master/doc/statuscodes.md; every other status is 7, PERMISSION_DENIED.
_GRPC_STATUS = {400: 3, 429: 8, 502: 14, 503: 14}


@dataclass(frozen=True)
class Response:
    """One whole response: status, reason phrase (ASCII, at most 100 characters), header fields and body.

    Field names are in lower case, as HTTP/2 asks; `content-length` is there unless there can be no body.
    """

    status: int
    reason: str
    headers: Headers
    body: bytes

    def to_bytes(self, *, close: bool) -> bytes:
        """The response as HTTP/1.1. `close` says that the connection ends with it."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, self.reason.encode("ascii"))]
        lines += [name + b": " + value for name, value in self.headers if not close or name != b"connection"]
        if close:
            lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", self.body])


def refuse(exchange: Exchange, *, connect: bool = False) -> Response:
    """The response for a refused exchange, in the form that its client shows to its user.

    `connect` says that it answers the CONNECT itself: no status below 300 then, whatever the exchange says.
    A request body that is still on its way is the caller's to discard.
    """
    facts = facts_of(exchange, connect=connect)
    dialect = dialect_of(exchange, facts.reason, connect=connect)
    if dialect is Dialect.GRPC:
        return _trailers_only(facts)
    status = 426 if dialect is Dialect.WEBSOCKET else facts.wording.status
    kind, body = _content(dialect, facts, status)
    extra = _extra(dialect, facts, status, connect)
    if exchange.method == "HEAD" and not connect:
        return Response(status, facts.sentence, (*_common(kind, facts), *extra), b"")
    length = (b"content-length", str(len(body)).encode())
    return Response(status, facts.sentence, (*_common(kind, facts), length, *extra), body)


def _content(dialect: Dialect, facts: Facts, status: int) -> tuple[bytes, bytes]:
    """The media type and the body."""
    if dialect is Dialect.GIT:
        return b"text/plain; charset=utf-8", git_text(facts).encode("ascii")
    if dialect in SHAPES:
        return b"application/json", _json(SHAPES[dialect](facts, status))
    return b"application/problem+json", _json(facts.problem(status))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, indent=1).encode("ascii") + b"\n"


def _common(kind: bytes, facts: Facts) -> Headers:
    error = _ERROR_TYPES.get(facts.reason, "http_request_denied")
    return (
        (b"content-type", kind),
        (b"cache-control", b"no-store"),
        (b"proxy-status", f'outgate; error={error}; details="{facts.reason}"'.encode("ascii")),
    )


def _extra(dialect: Dialect, facts: Facts, status: int, connect: bool) -> Headers:
    """The fields that only some refusals need."""
    headers: list[tuple[bytes, bytes]] = []
    if status == 407:
        # The connection stays: git and libcurl answer the challenge on it.
        headers.append((b"proxy-authenticate", b'Basic realm="outgate"'))
    elif connect:
        headers.append((b"connection", b"close"))
    if status == 426:
        # RFC 9110, section 15.5.22 asks for the field. What passes, if anything does, is a plain request.
        headers += [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")]
    if status == 429:
        headers.append((b"retry-after", RETRY_AFTER))
    if dialect is Dialect.NPM:
        headers.append((b"npm-notice", visible(facts.message, NOTICE_LIMIT).encode("ascii")))
    return tuple(headers)


def _trailers_only(facts: Facts) -> Response:
    """A gRPC refusal: one header block and no body (gRPC over HTTP/2, "Trailers-Only")."""
    status = _GRPC_STATUS.get(facts.wording.status, 7)
    headers = (
        *_common(b"application/grpc", facts),
        (b"grpc-status", str(status).encode()),
        (b"grpc-message", facts.message.replace("%", "%25").encode("ascii")),
    )
    return Response(200, facts.sentence, headers, b"")


__all__ = ["Response", "refuse"]
