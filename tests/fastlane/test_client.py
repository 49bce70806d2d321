"""A client of the fast lane on a transport that the test plays: what it may have, and how many of it there may be."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy import limits
from proxy.fastlane.client import ClientSide
from proxy.fastlane.lane import Lane
from tests.support.engine import make_services
from tests.support.pki import Authority

POLICY = """
version: 1
name: one
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
"""
PAGE = b"GET http://outgate.internal/policy HTTP/1.1\r\nHost: outgate.internal\r\n\r\n"


class Transport:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def get_extra_info(self, _: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def nothing(self) -> None: ...

    pause_reading = resume_reading = abort = close = nothing


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    services = make_services(tmp_path / "state", POLICY, {}, Authority(tmp_path).ca_file, {})
    made: Any = Lane(
        gate=services.gate,
        dialer=services.dialer,
        leaf_contexts=services.leaf_contexts,
        upstream_context=services.upstream_tls,
        hand_over=lambda *_, **__: None,
        others=lambda: 0,
        tell=lambda _: None,
    )
    yield made
    services.gate.audit.close()


def come(client: ClientSide, data: bytes) -> None:
    client.get_buffer(-1)[: len(data)] = data
    client.buffer_updated(len(data))


def test_a_client_that_does_not_take_its_answers_gets_no_more_of_them(lane: Lane) -> None:
    async def play() -> None:
        client, transport = ClientSide(lane), Transport()
        client.connection_made(transport)  # type: ignore[arg-type]
        client.pause_writing()
        come(client, PAGE * 3)
        assert transport.written == []
        client.resume_writing()
        async with asyncio.timeout(10):
            while len(transport.written) < 3:  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in transport.written)

    asyncio.run(play())


def test_clients_that_are_turned_away_are_told_of_once_in_a_while(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 0)
    now = 100.0
    monkeypatch.setattr("proxy.fastlane.lane.time.monotonic", lambda: now)
    with capture_logs() as logs:
        assert [lane.enter(None) for _ in range(5)] == [False] * 5
        now += 2
        assert not lane.enter(None)
    assert [entry["times"] for entry in logs] == [1, 5]
