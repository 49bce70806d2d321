"""Request heads: from the bytes of a head to a policy `Request`, and to the headers that go upstream.

Pure, over bytes, for every engine. A head that two parties could read differently raises `BadHead`;
nothing is repaired.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from proxy import limits
from proxy.policy.host import Authority, MalformedHost, parse_authority
from proxy.policy.path import AmbiguousPath, read_path
from proxy.policy.reason import Reason
from proxy.policy.request import MalformedRequest, Request
from proxy.policy.spelling import folded_field, folded_name, folded_names

type Headers = tuple[tuple[bytes, bytes], ...]

MAX_HEADERS = 256

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")

# Hop-by-hop fields (RFC 9110 section 7.6.1) and what a client says to a proxy alone.
_HOP = "connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer upgrade http2-settings"
# Fields that make some servers and frameworks see another method, host or path than the policy saw. What a proxy in
# front of them says in these is nothing that a client says.
_OVERRIDES = folded_names(
    "x-http-method-override x-http-method x-method-override x-method x-original-method x-forwarded-method"
    " method-override http-method-override x-forwarded-method-override x-tunneled-method x-requested-method _method"
    " api-method http-method x-envoy-original-method x-forwarded-authority x-forwarded-request-uri x-request-uri"
    " x-original-path x-accel-redirect x-backend-host host-override"
    " x-original-url x-original-uri x-rewrite-url x-override-url x-proxy-url x-envoy-original-path"
    " x-http-path-override x-http-destinationurl x-forwarded-uri x-forwarded-url x-forwarded-path x-forwarded-prefix"
    " x-forwarded-host x-forwarded-server x-forwarded-port x-forwarded-proto x-forwarded-scheme x-original-host"
    " x-real-host x-host x-http-host-override x-envoy-original-dst-host proxy-host request-uri http-url base-url"
    " forwarded"
)
# What names a trace and what belongs to it (https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/).
_TRACE_CONTEXT = folded_names("traceparent tracestate baggage")
# Framing belongs to the hop that writes it; no `Connection` header may take it away.
_FRAMED = folded_names("content-length transfer-encoding")
_GONE = folded_names(_HOP) | _OVERRIDES | {"expect", "host"}
# A field that some server would take for one of these has two readings.
_DISGUISED = {
    folded_name(name): name.encode() for name in (_HOP + " content-length transfer-encoding").split() if "-" in name
}
_WEBSOCKET_EXTENSIONS = folded_name("sec-websocket-extensions")
_SHORT = 64  # bytes of a header name that is worth to be remembered
# RFC 4918 sections 9.8 and 9.9: the methods that must say with `Destination` where they write. Others (RFC 5842,
# chunked uploads) may.
_TO_DESTINATION = frozenset(("COPY", "MOVE"))


class BadHead(ValueError):
    """The head cannot become a request. `reason` is the refusal's reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Fields:
    """The fields of a head, found by name. Made for a dataclass without slots, with `headers`."""

    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field; `name` in lower case. Not to be changed."""
        return self._named.get(name, [])

    @cached_property
    def _named(self) -> dict[bytes, list[bytes]]:
        named: dict[bytes, list[bytes]] = {}
        for key, value in self.headers:
            named.setdefault(key.lower(), []).append(value)
        return named


@dataclass(frozen=True)
class Head(Fields):
    """A request head as it came: `authority` is the one of an absolute URI or of :authority, else empty.

    `version` is `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`; `scheme` what the client wrote, if it did.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    scheme: bytes = b""
    authority: bytes = b""

    @property
    def waits_for_continue(self) -> bool:
        """Whether its body comes once it is asked for. What an HTTP/1.0 client says of it counts for nothing (RFC 9110
        section 10.1.1).
        """
        return self.version != b"HTTP/1.0" and bool(self.values(b"expect"))


def read_head(head: Head, *, tunnel: Authority | None, tls: bool) -> Request:
    """Make the policy's request of a head, or raise `BadHead`.

    `tunnel` is the CONNECT target if the head came through one, `tls` whether it came over intercepted TLS.
    Target, server name and Host must be one name (RFC 9110 section 7.4).
    """
    _check_fields(head)
    _check_framing(head)
    if len(head.target) > limits.MAX_TARGET:
        raise BadHead(Reason.LIMIT_EXCEEDED, f"the target is longer than {limits.MAX_TARGET >> 10} KiB")
    if tunnel is None:
        authority, scheme = _absolute_form(head), "http"
    else:
        authority, scheme = _inside_tunnel(head, tunnel), "https" if tls else "http"
    try:
        return Request(scheme, authority.host, authority.port, head.method.decode("ascii"), head.target.decode("ascii"))
    except (MalformedRequest, UnicodeDecodeError) as error:
        raise BadHead(Reason.MALFORMED_REQUEST, str(error)) from None


def read_destination(head: Head, request: Request) -> Request | None:
    """The request as it were for the place that `Destination` names (RFC 4918 section 10.3), if that can be read.

    None where there is none; COPY and MOVE must have one. Raises `BadHead` for a place on another host or port, or one
    that can be read in several ways, whatever rules there are.
    """
    values = [value for name, value in head.headers if folded_field(name) == "destination"]
    if not values and request.methods.isdisjoint(_TO_DESTINATION):
        return None
    if len(values) != 1:
        raise BadHead(Reason.MALFORMED_REQUEST, "not exactly one Destination")
    target = values[0].strip(b" \t")
    if not target.startswith(b"/"):
        scheme, _, rest = target.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        default = {"https": 443, "http": 80}[request.scheme]
        if scheme.lower() != request.scheme.encode() or not slash:
            raise BadHead(Reason.AUTHORITY_MISMATCH, "Destination is not on the host of the connection")
        if _authority(authority, default) != Authority(request.host, request.port):
            raise BadHead(Reason.AUTHORITY_MISMATCH, "Destination is not on the host of the connection")
        target = slash + path
    try:
        there = replace(request, target=target.decode("ascii"))
        read_path(there.path, keep_encoded_slash=True)
    except AmbiguousPath as error:
        raise BadHead(Reason.AMBIGUOUS_PATH, f"Destination: {error}") from None
    except (MalformedRequest, UnicodeDecodeError) as error:
        raise BadHead(Reason.MALFORMED_REQUEST, f"Destination: {error}") from None
    return there


def read_connect(head: Head) -> Authority:
    """The target of a CONNECT request (RFC 9110 section 9.3.6), or `BadHead`."""
    _check_fields(head)
    if head.method != b"CONNECT":
        raise BadHead(Reason.MALFORMED_REQUEST, "methods are case-sensitive")
    if head.values(b"transfer-encoding") or head.values(b"content-length") not in ([], [b"0"]):
        raise BadHead(Reason.MALFORMED_REQUEST, "a CONNECT request has no body")
    return _authority(head.authority, None)


def is_websocket(head: Head) -> bool:
    """Whether the head asks for a WebSocket (RFC 6455 section 4.1)."""
    return (
        head.method == b"GET"
        and head.version == b"HTTP/1.1"
        and [value.lower() for value in head.values(b"upgrade")] == [b"websocket"]
        and b"upgrade" in [token.strip() for token in b",".join(head.values(b"connection")).lower().split(b",")]
        and head.values(b"sec-websocket-version") == [b"13"]
        and len(head.values(b"sec-websocket-key")) == 1
    )


def forwarded(
    headers: Headers, authority: Authority, scheme: str, *, websocket: bool, trace_context: bool = False
) -> Headers:
    """The headers that go upstream: end-to-end ones, with a Host of our own writing.

    Hop-by-hop fields and those that `Connection` names are dropped, method overrides and `Expect` too, and the client's
    trace headers without `trace_context`.
    A WebSocket upgrade is written anew, without extensions: compressed frames cannot be bounded.
    """
    named = {
        folded_field(token.strip())
        for key, value in headers
        if key.lower() == b"connection"
        for token in value.split(b",")
    }
    named -= _FRAMED
    if not trace_context:
        named |= _TRACE_CONTEXT
    if websocket:
        named.add(_WEBSOCKET_EXTENSIONS)
    kept = [(key, value) for key, value in headers if (name := folded_field(key)) not in _GONE and name not in named]
    if websocket:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return ((b"Host", host_field(authority, scheme)), *kept)


def host_field(authority: Authority, scheme: str) -> bytes:
    """The Host header's value: the port only where it is not the scheme's own."""
    default = {"https": 443, "http": 80}[scheme]
    return (authority.host.url_form if authority.port == default else str(authority)).encode()


def _check_fields(head: Head) -> None:
    if head.version not in (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"):
        raise BadHead(Reason.MALFORMED_REQUEST, "not a known HTTP version")
    if len(head.headers) > MAX_HEADERS:
        raise BadHead(Reason.LIMIT_EXCEEDED, f"more than {MAX_HEADERS} header fields")
    for name, value in head.headers:
        if flaw := (_known_flaw if len(name) <= _SHORT else _flaw)(name):
            raise BadHead(Reason.MALFORMED_REQUEST, flaw)
        if not _VALUE.fullmatch(value):
            raise BadHead(Reason.MALFORMED_REQUEST, "a header value holds a control character or a folded line")


def _flaw(name: bytes) -> str:
    """What is wrong with a header name; empty if nothing is."""
    if not TOKEN.fullmatch(name):
        return "a header name is not a token"
    folded, name = folded_field(name), name.lower()
    if not folded or _DISGUISED.get(folded, name) != name:
        return "a header name that some servers take for another one"
    return ""


_known_flaw = lru_cache(maxsize=1024)(_flaw)


def _check_framing(head: Head) -> None:
    """One way to find the body's end (RFC 9112 section 6.3), or none of them."""
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if len(lengths) > 1 or (lengths and not LENGTH.fullmatch(lengths[0])):
        raise BadHead(Reason.MALFORMED_REQUEST, "content-length is not one number")
    if codings and (lengths or head.version != b"HTTP/1.1" or [c.lower() for c in codings] != [b"chunked"]):
        raise BadHead(Reason.MALFORMED_REQUEST, "transfer-encoding is not just `chunked`")
    expect = head.values(b"expect")
    if len(expect) > 1 or (expect and expect[0].lower() != b"100-continue"):
        raise BadHead(Reason.MALFORMED_REQUEST, "an expectation that is not 100-continue")


def _absolute_form(head: Head) -> Authority:
    """The authority of a plain request to the proxy: `GET http://host/path` with a Host that agrees."""
    if head.version == b"HTTP/2.0" or not head.authority:
        raise BadHead(Reason.MALFORMED_REQUEST, "this is a proxy: send CONNECT, or an absolute http URL")
    if head.scheme.lower() != b"http":
        raise BadHead(Reason.PROTOCOL_NOT_ALLOWED, "an https URL needs CONNECT")
    return _agreed(head, _authority(head.authority, 80), 80)


def _inside_tunnel(head: Head, tunnel: Authority) -> Authority:
    if head.version == b"HTTP/2.0":
        if head.scheme != b"https":
            raise BadHead(Reason.MALFORMED_REQUEST, "the scheme is not https")
        if not head.authority and not head.values(b"host"):
            raise BadHead(Reason.MALFORMED_REQUEST, "no authority")
        if head.authority and _authority(head.authority, tunnel.port) != tunnel:
            raise _mismatch()
        return tunnel if not head.values(b"host") else _agreed(head, tunnel, tunnel.port)
    if head.authority or head.scheme:
        raise BadHead(Reason.AUTHORITY_MISMATCH, "an absolute URL inside a tunnel")
    return _agreed(head, tunnel, tunnel.port)


def _agreed(head: Head, authority: Authority, default_port: int) -> Authority:
    hosts = head.values(b"host")
    if len(hosts) != 1:
        raise BadHead(Reason.MALFORMED_REQUEST, "not exactly one Host header")
    if _authority(hosts[0].strip(b" \t"), default_port) != authority:
        raise _mismatch()
    return authority


def _mismatch() -> BadHead:
    return BadHead(Reason.AUTHORITY_MISMATCH, "Host is not the host of the connection")


def _authority(raw: bytes, default_port: int | None) -> Authority:
    try:
        return parse_authority(raw.decode("ascii"), default_port)
    except UnicodeDecodeError:
        raise BadHead(Reason.MALFORMED_REQUEST, "the host is not ASCII; use its xn-- form") from None
    except MalformedHost as error:
        raise BadHead(Reason.MALFORMED_REQUEST, str(error)) from None
