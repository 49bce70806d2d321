"""The record: every way in which an exchange can end leads here."""

from mitmproxy import http
from mitmproxy.connection import Client

from proxy.engine.state import exchange_of, services_of, session_of


class Record:
    """Finishes exchanges. One that is finished already stays as it is."""

    def response(self, flow: http.HTTPFlow) -> None:
        # After 101 the exchange goes on; its relay records the end.
        if flow.response is not None and flow.response.status_code != 101:
            self._finish(flow, "complete")

    def error(self, flow: http.HTTPFlow) -> None:
        self._finish(flow, "aborted")

    def client_disconnected(self, client: Client) -> None:
        services_of(client).gate.close(session_of(client))

    def _finish(self, flow: http.HTTPFlow, end: str) -> None:
        exchange = exchange_of(flow)
        if exchange is not None:
            services_of(flow.client_conn).gate.finish(session_of(flow.client_conn), exchange, end)
