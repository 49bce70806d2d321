"""A tunnel that a rule opens: each side may say that it has said all, and still hear the other; names are judged."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.boundary.cases.escapes import hello
from tests.support.outgate import Outgate

POLICY = """
version: 1
name: halves
allow:
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
"""

type Start = Callable[..., Outgate]


@dataclass
class Peer:
    """The far end of one tunnel, in the test's own hands."""

    listening: socket.socket

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def accept(self) -> socket.socket:
        connection, _ = self.listening.accept()
        connection.settimeout(10)
        return connection


@pytest.fixture
def peer() -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield Peer(listening)


@pytest.fixture
def outgate(start_outgate: Start, peer: Peer) -> Outgate:
    return start_outgate(POLICY, connect_to={"pinned.example:443": peer.port})


def everything(connection: socket.socket) -> bytes:
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def test_a_client_that_has_said_all_hears_the_answer(outgate: Outgate, peer: Peer) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.send(b"question" * 50_000)
        client.end()
        with peer.accept() as far:
            assert everything(far) == b"question" * 50_000
            sending = threading.Thread(target=lambda: (far.sendall(b"answer" * 50_000), far.shutdown(socket.SHUT_WR)))
            sending.start()
            assert client.read_to_end() == b"answer" * 50_000
            sending.join()
    event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert (event["bytes_out"], event["bytes_in"], event["end"]) == (400_000, 300_000, "client_closed")


def test_a_server_that_has_said_all_hears_the_rest(outgate: Outgate, peer: Peer) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        with peer.accept() as far:
            far.sendall(b"first")
            far.shutdown(socket.SHUT_WR)
            assert client.read_to_end() == b"first"
            client.send(b"and yet")
            client.end()
            assert everything(far) == b"and yet"
    event = outgate.wait_for_events(lambda found: len(found) == 1)[0]
    assert (event["bytes_out"], event["bytes_in"], event["end"]) == (7, 5, "upstream_closed")


def test_a_reset_ends_both_halves(outgate: Outgate, peer: Peer) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        far = peer.accept()
        client.send(b"hello")
        assert far.recv(5) == b"hello"
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        assert client.closed()
    assert outgate.wait_for_events(lambda found: len(found) == 1)[0]["end"] == "upstream_closed"


def test_a_server_name_behind_plain_text_is_judged(outgate: Outgate, peer: Peer) -> None:
    """As databases and mail servers do it; what is routed by that name is somebody else's."""
    ask_for_tls = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL's
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        with peer.accept() as server:
            client.send(ask_for_tls)
            assert server.recv(100) == ask_for_tls
            server.sendall(b"S")
            assert client.read_exactly(1) == b"S"
            client.send(hello("evil.example"))
            assert client.closed()
            assert server.recv(100) == b""
    (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (event["verdict"], event["reason"], event["end"]) == ("deny", "authority_mismatch", "refused")


def test_the_right_server_name_behind_plain_text_passes(outgate: Outgate, peer: Peer) -> None:
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        with peer.accept() as server:
            sent, data = b"STARTTLS\r\n" + hello("pinned.example"), b""
            client.send(sent)
            while len(data) < len(sent):
                data += server.recv(65536)
            assert data == sent
