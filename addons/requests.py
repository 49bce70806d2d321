"""Requests: CONNECT and request heads go to the gate."""

from mitmproxy import http

from proxy.engine.state import attach_exchange, services_of, session_of
from proxy.engine.wire import head_of


class Requests:
    """Asks the gate once per head. The stream does what the exchange then says."""

    def http_connect(self, flow: http.HTTPFlow) -> None:
        client = flow.client_conn
        attach_exchange(flow, services_of(client).gate.connect(session_of(client), head_of(flow.request)))

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        client = flow.client_conn
        head = head_of(flow.request)
        attach_exchange(flow, services_of(client).gate.request(session_of(client), head, tls=client.tls_established))
