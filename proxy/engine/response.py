"""A response head in mitmproxy's terms: judged, cleaned, and its body sent through a filter."""

import time

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers

from proxy.answer import BodyFilter, Undecodable, accepts, coding_of, has_line_breaks, meter_of, returned
from proxy.engine.state import exchange_of, mask_of
from proxy.exchange import Exchange
from proxy.policy.reason import Reason


def judge_response(flow: http.HTTPFlow) -> None:
    """Refuse the exchange for an answer that cannot be passed on, else prepare the answer for the client."""
    exchange, response = exchange_of(flow), flow.response
    if exchange is None or response is None or not exchange.allowed:
        return
    exchange.first_byte = time.monotonic()
    try:
        validate_headers(response)
    except ValueError:
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream's response head is malformed")
        return
    upgrade = response.status_code == 101
    codings = [value.strip().lower() for value in response.headers.get_all("transfer-encoding")]
    legible = not has_line_breaks(response.headers.fields)
    if not legible or codings not in ([], ["chunked"]) or not (upgrade or 200 <= response.status_code <= 599):
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream's response head is malformed")
        return
    if upgrade and not _wanted(exchange, flow.request, response):
        exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream switched protocols unasked")
        return
    exchange.status = response.status_code
    _prepare(flow, exchange, response, upgrade=upgrade)


def _wanted(exchange: Exchange, request: http.Request, response: http.Response) -> bool:
    """Whether the switch of protocols is the WebSocket that was asked for. HTTP/1.0 knows none."""
    key = request.headers.get("sec-websocket-key", "").encode()
    return exchange.websocket and response.http_version == "HTTP/1.1" and accepts(key, response.headers.fields)


def _prepare(flow: http.HTTPFlow, exchange: Exchange, response: http.Response, *, upgrade: bool) -> None:
    mask = mask_of(flow)
    response.headers.fields = returned(response.headers.fields, mask, upgrade=upgrade)
    if mask is not None:
        response.data.reason = mask.apply(response.data.reason)
    exchange.meter = meter_of(exchange, response.status_code, response.headers.fields, mask)
    coding = coding_of(response.headers.fields)
    try:
        body = BodyFilter(mask, coding, lambda size: _count(exchange, size), exchange.meter)
    except Undecodable as error:
        exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, str(error))
        return
    _frame(flow.request, response, decoded=body.decodes)
    # mitmproxy calls this with each chunk, and with b"" at the end; an empty chunk of ours would end a body early.
    response.stream = lambda chunk: body.feed(chunk) if chunk else body.flush()


def _count(exchange: Exchange, size: int) -> None:
    exchange.bytes_in += size


def _has_body(request: http.Request, response: http.Response) -> bool:
    return request.method != "HEAD" and response.status_code not in (204, 304) and response.status_code >= 200


def _frame(request: http.Request, response: http.Response, *, decoded: bool) -> None:
    """Frame the answer for its client: a body is as long as it says, else chunked where the client's version has that.

    How the upstream framed it is between the two of us (RFC 9112 section 6.1).
    """
    headers = response.headers
    if not _has_body(request, response):
        # Nothing to decode: HEAD, 204 and 304 keep the headers of the whole answer.
        headers.pop("transfer-encoding", None)
        return
    if decoded:
        headers.pop("content-encoding", None)
    if decoded or "transfer-encoding" in headers:
        headers.pop("content-length", None)
    if request.http_version != "HTTP/1.1":
        headers.pop("transfer-encoding", None)
    elif "content-length" not in headers:
        headers["transfer-encoding"] = "chunked"
        if response.http_version == "HTTP/1.0":
            response.http_version = "HTTP/1.1"
