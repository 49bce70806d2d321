"""The upstream of `outgate doctor`: an HTTPS server on loopback that writes down who came, and answers all with 200."""

import contextlib
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from proxy import ca
from proxy.policy.host import parse_host


@dataclass(slots=True)
class StandIn:
    """Its port, its CA, and what came: the path and the Authorization header of each request."""

    port: int
    ca_file: Path
    server: ThreadingHTTPServer
    came: list[tuple[str, str]] = field(default_factory=list)

    def serve(self) -> None:
        """Begin to answer, in a thread."""
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextlib.contextmanager
def stand_in(host: str, folder: Path) -> Iterator[StandIn]:
    """An upstream for `host` that listens, and does not answer until it is told to: a process may fork until then."""
    authority = ca.create()
    ca_file = folder / "upstream-ca.pem"
    ca_file.write_bytes(authority.pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    found = StandIn(server.server_address[1], ca_file, server)
    server.came = found.came  # type: ignore[attr-defined]
    server.socket = _context(ca.LeafIssuer(authority), host).wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    try:
        yield found
    finally:
        server.server_close()


def _context(issuer: ca.LeafIssuer, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = issuer.issue(parse_host(host))
    key = issuer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.came.append((self.path, self.headers.get("Authorization", "")))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok\n")

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: doctor says what there is to say."""
