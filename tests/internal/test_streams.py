"""What is answered here leaves nothing behind in the engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.layers import Http
from proxy.engine.listener import Listener
from tests.support.engine import Engine, make_services, running
from tests.support.pki import Authority
from tests.support.rawclient import RawClient

POLICY = "version: 1\nname: main\n"
HOST = "outgate.internal"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Http]:
    """Every HTTP layer that is made from now on."""
    layers: list[Http] = []
    original = Http.__init__

    def noting(self: Http, *given: Any) -> None:
        layers.append(self)
        original(self, *given)

    monkeypatch.setattr(Http, "__init__", noting)
    monkeypatch.setattr(Listener, "fast", False)  # the other lane has no layers
    return layers


@pytest.fixture
def engine(tmp_path: Path, made: list[Http]) -> Iterator[Engine]:
    services = make_services(tmp_path, POLICY, {}, Authority(tmp_path / "ca").ca_file, {})
    with running(tmp_path, services) as started:
        yield started


@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}])
@pytest.mark.parametrize("body", [b"host=a.example&why=w", b"x" * 10_000, b""])
def test_a_request_for_access_is_forgotten_once_it_is_answered(
    engine: Engine, made: list[Http], body: bytes, expect: dict[str, str]
) -> None:
    """A stream that stays is memory that a client can grow, and over HTTP/2 one of those that may run at once."""
    with RawClient(engine.address) as client:
        for _ in range(3):
            answer = client.request("POST", f"http://{HOST}/access", HOST, expect, body)
            if answer.status == 100:
                answer = client.read("POST")
            assert answer.status in (202, 400, 413)
        assert client.request("GET", f"http://{HOST}/", HOST).status == 200
        (http,) = made
        assert http.streams == {}
