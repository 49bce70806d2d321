"""What peers do at the edges of an exchange: say more than was asked, end in two steps, or break off."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.outgate import Outgate
from tests.support.pki import Authority

POLICY = """
version: 1
name: edges
allow:
  - {id: good, why: w, hosts: [good.example], schemes: [http, https], ports: [80, 443], access: any}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
"""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

type Start = Callable[..., Outgate]
type Serve = Callable[[socket.socket, int], None]


@dataclass
class Peer:
    """An upstream whose connections are played by `serve(connection, number)`, each in a thread of its own."""

    listening: socket.socket
    serve: Serve = lambda *_: None

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def run(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            connection.settimeout(20)
            threading.Thread(target=self._play, args=(connection, number), daemon=True).start()
            number += 1

    def _play(self, connection: socket.socket, number: int) -> None:
        with connection:
            self.serve(connection, number)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Peer(listening)
        threading.Thread(target=made.run, daemon=True).start()
        yield made
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def outgate(start_outgate: Start, peer: Peer) -> Outgate:
    return start_outgate(POLICY, connect_to=dict.fromkeys(("good.example:80", "pinned.example:443"), peer.port))


def heard(connection: socket.socket | ssl.SSLSocket) -> bytes:
    """The head of one request; nothing if the other side ends."""
    data = b""
    while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
        data += piece
    return data


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_what_stands_behind_a_whole_answer_is_nobodys(outgate: Outgate, peer: Peer) -> None:
    ended = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        heard(connection)
        connection.sendall(ANSWER)
        if number == 0:
            try:
                for _ in range(1 << 10):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" * 1000)
            except OSError:
                ended.set()

    peer.serve = serve
    with outgate.client() as client:
        client.send(b"POST http://good.example/ HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\n\r\nab")
        assert client.read().body == b"ok"
        client.send(b"cd" + b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert client.read().body == b"ok"
        assert ended.wait(20), "the connection is not used again"


def test_an_end_in_two_steps_leaves_the_second_attempt_alone(start_outgate: Start, peer: Peer, tmp_path: Path) -> None:
    """RFC 8446 section 6.1: close_notify, and the FIN of TCP when there is time."""
    authority = Authority(tmp_path)
    context = authority.server_context("good.example")
    again = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            heard(tls)
            if number:
                again.set()
                tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"whole" * 1000)
                tls.unwrap()
                return
            tls.sendall(ANSWER)
            heard(tls)
            tls.settimeout(0)
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()
            assert again.wait(20)

    peer.serve = serve
    proxy = start_outgate(POLICY, connect_to={"good.example:443": peer.port}, upstream_ca=(authority.ca_file,))
    for expected in (b"ok", b"whole" * 1000):
        with proxy.tunnel("good.example:443") as client:
            assert client.request("GET", "/", "good.example").body == expected
    assert "failed" not in proxy.stderr


def test_a_plain_request_in_the_segment_of_its_connect_is_answered(outgate: Outgate, peer: Peer) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        heard(connection)
        connection.sendall(ANSWER)

    peer.serve = serve
    with outgate.client() as client:
        connect = b"CONNECT good.example:80 HTTP/1.1\r\nHost: good.example:80\r\n\r\n"
        client.send(connect + b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert client.read("CONNECT").status == 200
        assert client.read().body == b"ok"


def test_the_end_of_a_client_that_came_before_its_tunnel_is_told(outgate: Outgate, peer: Peer) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        with connection.makefile("rb") as stream:
            connection.sendall(b"%d" % len(stream.read()))

    peer.serve = serve
    with outgate.client() as client:
        client.send(b"CONNECT pinned.example:443 HTTP/1.1\r\nHost: pinned.example:443\r\n\r\n" + b"more")
        client.end()
        assert client.read("CONNECT").status == 200
        assert client.read_to_end() == b"4"


def test_a_server_that_speaks_first_in_a_tunnel_and_ends_is_heard(outgate: Outgate, peer: Peer) -> None:
    peer.serve = lambda connection, _: connection.sendall(b"banner")
    for _ in range(10):
        with outgate.client() as client:
            assert client.connect("pinned.example:443").status == 200
            assert client.read_to_end() == b"banner"


def test_what_breaks_off_in_a_tunnel_does_not_look_whole(outgate: Outgate, peer: Peer) -> None:
    seen: list[OSError | None] = []
    over = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        connection.sendall(b"half")
        if number == 0:
            assert connection.recv(65536)
            reset(connection)
            return
        try:
            while connection.recv(65536):
                pass
            seen.append(None)
        except OSError as error:
            seen.append(error)
        over.set()

    peer.serve = serve
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.send(b"question")
        assert client.read_exactly(4) == b"half"
        with pytest.raises(ConnectionResetError):
            client._socket.recv(1)
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.send(b"question")
        assert client.read_exactly(4) == b"half"
        client.reset()
        assert over.wait(20)
    assert isinstance(seen[-1], ConnectionResetError)


@pytest.mark.parametrize("http2", [False, True], ids=["fast lane", "handed over"])
def test_a_request_in_the_segment_that_ends_the_handshake_is_answered(start_outgate: Start, http2: bool) -> None:
    outgate = start_outgate(POLICY.replace("access: any}", "access: any, http2: true}") if http2 else POLICY)
    context = ssl.create_default_context(cafile=outgate.ca_file)
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going, server_hostname="good.example")
    with outgate.client() as client:
        assert client.connect("good.example:443").status == 200
        sock = client._socket
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(going.read())
                coming.write(sock.recv(65536))
            else:
                break
        tls.write(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        sock.sendall(going.read())
        while True:
            try:
                answer = tls.read(65536)
            except ssl.SSLWantReadError:
                coming.write(sock.recv(65536))
            else:
                break
    assert answer.startswith(b"HTTP/1.1 403 ")


def test_a_tunnel_that_a_reload_cuts_does_not_look_whole(outgate: Outgate, peer: Peer) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.sendall(b"half")
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)

    peer.serve = serve
    with outgate.client() as client:
        assert client.connect("pinned.example:443").status == 200
        assert client.read_exactly(4) == b"half"
        outgate.write_policy(POLICY.replace("hosts: [pinned.example]", "hosts: [other.example]"))
        os.kill(outgate.ready["pid"], signal.SIGHUP)
        with pytest.raises(ConnectionResetError):
            client._socket.recv(1)
