"""TLS sessions of upstreams are resumed for the same end, and for no other."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fastlane.test_again import ask_at
from tests.support.outgate import Outgate
from tests.support.pki import Authority

HOSTS = ("good.example", "other.example")
POLICY = """
version: 1
name: tickets
allow:
  - {id: both, why: w, hosts: [good.example, other.example], access: any}
"""


class Server:
    """Answers one request on each connection; `resumed` says of each whether it resumed a session."""

    def __init__(self, leaf: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(leaf)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.resumed: list[bool] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                return
            with self._context.wrap_socket(raw, server_side=True) as connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(4096)
                self.resumed.append(bool(connection.session_reused))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def close(self) -> None:
        self._socket.close()


@contextmanager
def world(folder: Path) -> Iterator[tuple[Outgate, Server]]:
    authority = Authority(folder)
    server = Server(authority.leaf(*HOSTS))
    (folder / "proxy").mkdir()
    to = {f"{host}:443": server.port for host in HOSTS}
    try:
        with Outgate(folder / "proxy", POLICY, connect_to=to, upstream_ca=(authority.ca_file,)) as proxy:
            yield proxy, server
    finally:
        server.close()


def test_a_session_is_resumed_for_its_own_host_alone(tmp_path: Path) -> None:
    with world(tmp_path) as (proxy, server):
        for host in ("good.example", "good.example", "other.example", "good.example", "other.example"):
            assert ask_at(proxy, host).status == 200
        assert server.resumed == [False, True, False, True, True]


def test_a_client_resumes_its_session(tmp_path: Path) -> None:
    with world(tmp_path) as (proxy, _):
        context = ssl.create_default_context(cafile=str(proxy.ca_file))
        session, resumed = None, []
        for _ in range(3):
            with proxy.client() as client:
                assert client.connect("good.example:443").status == 200
                with context.wrap_socket(client._socket, server_hostname="good.example", session=session) as tls:
                    client._socket = tls
                    assert client.request("GET", "/", "good.example").status == 200
                    session = tls.session
                    resumed.append(tls.session_reused)
        assert resumed == [False, True, True]
