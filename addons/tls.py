"""TLS on both sides: the hello is judged, contexts are handed out."""

from mitmproxy.connection import Client, Server
from mitmproxy.tls import ClientHelloData, TlsData

from proxy.engine.resuming import resume
from proxy.engine.state import services_of, session_of
from proxy.hello import client_name, judge_hello
from proxy.policy.host import parse_host


class Tls:
    """Gives mitmproxy its TLS connections."""

    def tls_clienthello(self, data: ClientHelloData) -> None:
        client = data.context.client
        data.establish_server_tls_first = False
        data.ignore_connection = False
        judge_hello(services_of(client).gate, session_of(client), data.client_hello)

    def tls_start_client(self, data: TlsData) -> None:
        assert isinstance(data.conn, Client)
        session = session_of(data.conn)
        host = client_name(session, data.conn.sni)
        data.ssl_conn = services_of(data.conn).client_contexts.connection(host, http2=session.connect.http2)

    def tls_established_client(self, data: TlsData) -> None:
        services_of(data.context.client).gate.greeted(session_of(data.context.client))

    def tls_start_server(self, data: TlsData) -> None:
        assert isinstance(data.conn, Server)
        assert data.conn.address is not None
        client = data.context.client
        protocols = [b"h2", b"http/1.1"] if client.alpn == b"h2" else [b"http/1.1"]
        text = data.conn.address[0]
        host = parse_host(f"[{text}]" if ":" in text else text)
        data.conn.sni = host.name
        data.ssl_conn = services_of(client).upstream_context.connection(host, protocols)
        resume(client, data.conn, data.ssl_conn)
