"""What is inside a CONNECT takes the place of all that its connection had before."""

import socket
import threading
from pathlib import Path

from tests.fastlane.lanes import OtherLane
from tests.support import answers
from tests.support.pki import Authority
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: inside
allow:
  - {id: good, why: w, hosts: [good.example], schemes: [http, https], ports: [80, 443], access: any}
"""


class Keeping:
    """Answers each request on its only connection, and keeps it; `ended` is set when the other side has ended it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        connection, _ = self._socket.accept()
        with self._socket, connection:
            while connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.ended.set()


def test_a_connect_behind_a_plain_request_lets_go_of_its_upstream(tmp_path: Path) -> None:
    plain = Keeping()
    (tmp_path / "proxy").mkdir()
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream:
        upstream.otherwise(answers.chunked([b"inside"]))
        to = {"good.example:80": plain.port, "good.example:443": upstream.port}
        served = OtherLane(tmp_path / "proxy", POLICY, connect_to=to, upstream_ca=(upstream.ca_file,))
        with served as proxy, proxy.client() as client:
            assert client.request("GET", "http://good.example/", "good.example").body == b"ok"
            assert client.connect("good.example:443").status == 200
            client.tls("good.example", ca_file=proxy.ca_file)
            assert client.request("GET", "/", "good.example").body == b"inside"
            assert plain.ended.wait(10)
