"""The record: an exchange that ends before both of its directions are done. The stream records the others."""

from mitmproxy import http
from mitmproxy.connection import Client

from proxy.engine.state import exchange_of, services_of, session_of


class Record:
    """Finishes exchanges. One that is finished already stays as it is."""

    def error(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        if exchange is not None:
            services_of(flow.client_conn).gate.finish(session_of(flow.client_conn), exchange, "aborted")

    def client_disconnected(self, client: Client) -> None:
        services_of(client).gate.close(session_of(client))
