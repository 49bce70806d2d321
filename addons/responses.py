"""Responses: the head is judged, the body is filtered as it streams."""

from mitmproxy import http

from proxy.engine.response import judge_response


class Responses:
    """Hands each response head to the engine before anything of it reaches the client."""

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        judge_response(flow)
