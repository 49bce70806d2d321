"""A response head in mitmproxy's terms: judged and cleaned by `proxy.passing`, and its body sent through a filter."""

from mitmproxy import http

from proxy.engine.state import exchange_of, mask_of
from proxy.engine.wire import head_of
from proxy.passing import Answer, Framing, let_pass


def judge_response(flow: http.HTTPFlow) -> None:
    """Refuse the exchange for an answer that cannot be passed on, else prepare the answer for the client."""
    exchange, response = exchange_of(flow), flow.response
    if exchange is None or response is None or not exchange.allowed:
        return
    data = response.data
    answer = Answer(data.status_code, data.reason, data.http_version, data.headers.fields)
    passing = let_pass(exchange, answer, head_of(flow.request), mask_of(flow))
    if passing is None:
        return
    data.reason, data.headers.fields = passing.reason, passing.headers
    if passing.framing is Framing.CHUNKED:
        data.http_version = b"HTTP/1.1"
    body = passing.body
    # mitmproxy calls this with each chunk, and with b"" at the end; an empty chunk of ours would end a body early.
    response.stream = lambda chunk: body.feed(chunk) if chunk else body.flush()
