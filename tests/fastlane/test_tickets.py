"""TLS sessions of upstreams are resumed for the same end, and for no other, as long as their certificate holds."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from proxy.fastlane import tls
from proxy.fastlane.pool import Tickets, Use
from proxy.fastlane.tls import Ticket, Tls, upstream_context
from tests.fastlane.lanes import OtherLane
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
def world(folder: Path, lane: type[Outgate] = Outgate) -> Iterator[tuple[Outgate, Server]]:
    authority = Authority(folder)
    server = Server(authority.leaf(*HOSTS))
    (folder / "proxy").mkdir()
    to = {f"{host}:443": server.port for host in HOSTS}
    try:
        with lane(folder / "proxy", POLICY, connect_to=to, upstream_ca=(authority.ca_file,)) as proxy:
            yield proxy, server
    finally:
        server.close()


@pytest.mark.parametrize("lane", [Outgate, OtherLane])
def test_a_session_is_resumed_for_its_own_host_alone(tmp_path: Path, lane: type[Outgate]) -> None:
    with world(tmp_path, lane) as (proxy, server):
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


def shaken(context: ssl.SSLContext, leaf: ssl.SSLContext, ticket: Ticket | None = None) -> Tls:
    """A client after its handshake with a server that sent its tickets."""
    client = Tls(context, server_side=False, name="good.example", ticket=ticket)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = leaf.wrap_bio(incoming, outgoing, server_side=True)
    client.start()
    for _ in range(3):
        incoming.write(client.pending())
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        client.feed(outgoing.read())
    return client


def test_a_python_that_loses_memory_with_each_session_looks_at_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    leaf, context = authority.server_context("good.example"), upstream_context([authority.ca_file])
    monkeypatch.setattr(tls, "_lost", count())
    monkeypatch.setattr(tls, "_MOST_LOST", 1)
    for loses in (True, False):
        monkeypatch.setattr(tls, "_LOSES", loses)
        assert [shaken(context, leaf).ticket(100.0) is None for _ in range(3)] == [False, loses, loses]


def test_a_session_lasts_from_the_handshake_that_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf, context = authority.server_context("good.example"), upstream_context([authority.ca_file])
    began = time.monotonic()
    first = shaken(context, leaf).ticket(100.0)
    assert first is not None
    assert began <= first.until - 100.0 <= time.monotonic()
    resumed = shaken(context, leaf, first).ticket(1000.0)
    assert resumed is not None
    assert resumed.until == first.until, "nothing was verified anew"


def test_no_session_outlives_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = upstream_context([authority.ca_file])
    ticket = shaken(context, authority.server_context("good.example")).ticket(1e12)
    assert ticket is not None
    assert ticket.until < time.monotonic() + 10 * 366 * 86_400.0


def test_a_session_that_is_over_is_not_resumed() -> None:
    use = Use("sandbox", "digest", None, "https", "good.example", 443)
    session: Any = object()
    tickets = Tickets()
    for until, expected in ((time.monotonic() - 1, False), (time.monotonic() + 100, True)):
        tickets.put(use, Ticket(session, until))
        assert (tickets.take(use) is not None) is expected
        assert tickets.take(use) is None, "each is resumed once"
