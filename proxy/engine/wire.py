"""Between mitmproxy's messages and ours: heads in, requests and refusals out."""

from mitmproxy import http
from mitmproxy.connection import Server

from proxy.answer import returned
from proxy.credentials.scrub import Mask
from proxy.dial import Dialer, DialError
from proxy.gate import Gate
from proxy.head import Head
from proxy.outbound import Outbound
from proxy.policy.reason import Reason
from proxy.refusal import Response


def head_of(request: http.Request) -> Head:
    """The head of a request, as the client sent it."""
    data = request.data
    return Head(data.method, data.path, data.http_version, data.headers.fields, data.scheme, data.authority)


def upstream_request(
    gate: Gate, outbound: Outbound, request: http.Request, server: Server, *, end_stream: bool
) -> tuple[http.Request, Mask | None]:
    """The request that goes on the wire, and the mask for its answer. A message of its own: the flow holds no secret.

    Raises `DialError` if a credential would not travel over verified TLS to its host, and `CredentialUnavailable`.
    """
    judged = outbound.request
    if outbound.form is not None and not (server.tls_established and server.sni == judged.host.name):
        raise DialError(Reason.UPSTREAM_UNVERIFIED, "a credential travels over verified TLS only")
    headers, target, mask = gate.upstream_head(outbound)
    authority = b""
    if request.is_http2:
        authority = next(value for name, value in headers if name == b"Host")
        headers = tuple((name.lower(), value) for name, value in headers if name != b"Host")
        unframed = not end_stream and not any(name == b"content-length" for name, _ in headers)
        if unframed and server.alpn != b"h2":
            # HTTP/2 frames every body; HTTP/1 would take one without a length for the next request.
            headers += ((b"transfer-encoding", b"chunked"),)
    message = http.Request(
        host=judged.host.name,
        port=judged.port,
        method=judged.method.encode(),
        scheme=judged.scheme.encode(),
        authority=authority,
        path=target.encode(),
        http_version=request.data.http_version if request.is_http2 else b"HTTP/1.1",
        headers=http.Headers(headers),
        content=None,
        trailers=None,
        timestamp_start=request.timestamp_start,
        timestamp_end=None,
    )
    return message, mask


def check_upstream(dialer: Dialer, outbound: Outbound, server: Server) -> None:
    """Raise `DialError` unless this very decision may use the connection, which is kept for later requests."""
    dialer.check(outbound.grant, None if server.peername is None else server.peername[0])


def copy_head(response: http.Response) -> http.Response:
    """A response of its own with the same head. mitmproxy's `copy` serialises the message to make one."""
    data = response.data
    return http.Response(
        http_version=data.http_version,
        status_code=data.status_code,
        reason=data.reason,
        headers=http.Headers(data.headers.fields),
        content=None,
        trailers=None,
        timestamp_start=data.timestamp_start,
        timestamp_end=None,
    )


def clean_trailers(trailers: http.Headers, mask: Mask | None) -> http.Headers:
    """Trailers as the client gets them: without hop-by-hop fields, and with the secret masked."""
    return http.Headers(returned(trailers.fields, mask, upgrade=False))


def to_flow_response(response: Response) -> http.Response:
    """A refusal as mitmproxy sends it."""
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=response.status,
        reason=response.reason.encode("ascii"),
        headers=http.Headers(response.headers),
        content=response.body,
        trailers=None,
        timestamp_start=0,
        timestamp_end=0,
    )
