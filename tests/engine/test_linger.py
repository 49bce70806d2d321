"""The socket of a client that does not read what it was sent: counted until it is closed, and closed in the end."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import limits
from tests.support import answers, engine
from tests.support.engine import Engine, make_services, running
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient, head
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: linger
allow:
  - {id: plain, why: w, hosts: [plain.example], access: any, schemes: [http]}
"""
# More than the two kernels hold with the buffers below, and less than what makes the proxy wait before it goes on.
BODY = b"x" * 60_000


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path, tls=False, authority=Authority(tmp_path)) as server:
        server.on("/big", answers.reply(200, BODY))
        yield server


@pytest.fixture
def proxy(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine for one client at a time, whose sockets hold little."""
    create = socket.create_server

    def create_server(address: tuple[str, int]) -> socket.socket:
        listening = create(address)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listening

    monkeypatch.setattr(engine.socket, "create_server", create_server)
    monkeypatch.setattr(limits, "MAX_CLIENTS", 1)
    services = make_services(tmp_path / "engine", POLICY, {("plain.example", 80): upstream.port}, upstream.ca_file, {})
    with running(tmp_path / "engine", services) as it:
        yield it


def ask(proxy: Engine, path: str) -> RawClient:
    client = RawClient.__new__(RawClient)
    client._socket, client._buffer = socket.socket(), b""
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client._socket.settimeout(10)
    host, _, port = proxy.address.rpartition(":")
    client._socket.connect((host, int(port)))
    client.send(head("GET", f"http://plain.example{path}", {"Host": "plain.example", "Connection": "close"}))
    return client


def status(proxy: Engine) -> int | None:
    """The status of a small answer; None for a client that was turned away."""
    with ask(proxy, "/") as client:
        try:
            return client.read().status
        except (ClosedError, OSError):
            return None


def until_done(proxy: Engine) -> None:
    while b'"complete"' not in proxy.log():
        pass


def test_a_slow_client_is_counted_until_it_has_all(proxy: Engine) -> None:
    with ask(proxy, "/big") as client:
        until_done(proxy)
        assert status(proxy) is None
        answer = client.read()
        assert (answer.body, answer.complete) == (BODY, True)
    while status(proxy) != 200:
        pass


def test_a_client_that_takes_nothing_is_cut_after_a_while(proxy: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINGER_TIME", 0.1)
    with ask(proxy, "/big") as client:
        while status(proxy) != 200:
            pass
        assert not client.read().complete
