"""Both lanes side by side, each in a proxy of its own before an upstream of its own."""

import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.outgate import Outgate
from tests.support.rawclient import RawClient
from tests.support.record import Record
from tests.support.upstream import Answer, Upstream

LAUNCH = Path(__file__).with_name("launch_other.py")
HOST = "good.example"
POLICY = """
version: 1
name: lanes
allow:
  - {id: good, why: w, hosts: [good.example], schemes: [http], access: any, paths: ["/good/**"]}
"""
# What differs between any two exchanges.
_OWN = frozenset(("id", "time", "client", "upstream_ip", "seq", "prev", "hash", "chain"))
SETTLED = 2.0
RESET, HANG = b"reset", b"hang"
BARRIER = b"GET /barrier HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class OtherLane(Outgate):
    def command(self) -> list[str]:
        return [sys.executable, str(LAUNCH), *super().command()[1:]]


@dataclass
class Seen:
    """What one lane made of a stream: what the client got, what went upstream, what is on record."""

    answers: bytes
    upstream: bytes
    events: list[dict[str, Any]]


@dataclass
class Lane:
    """`_read` is how many bytes of each log were looked at, `_came` of each connection to the upstream."""

    proxy: Outgate
    upstream: Upstream
    _read: dict[Path, int] = field(default_factory=dict)
    _came: Counter[int] = field(default_factory=Counter)

    def send(self, stream: bytes) -> tuple[bytes, bytes]:
        """Send a stream inside CONNECT, then say that it is all; what comes back, and what went upstream."""
        with RawClient(self.proxy.address, 3.0) as client:
            assert client.connect(f"{HOST}:80").status == 200
            try:
                client.send(stream)
                client.end()
                answers = _all(client)
            except TimeoutError:
                answers = HANG
            except OSError:
                answers = RESET
        return answers, self._upstream()

    def _upstream(self) -> bytes:
        """What went upstream since this was asked last, once no more of it can be on its way."""
        # A connection made after all others: when it is served, these have been accepted.
        with socket.create_connection(("127.0.0.1", self.upstream.port)) as last:
            last.sendall(BARRIER)
            last.recv(1)
        record = self.upstream.record
        record.wait(_at_rest)
        new = []
        for arrival in record.connections:
            data = bytes(arrival.raw)
            if not data.startswith(BARRIER):
                new.append(data[self._came[arrival.number] :])
            self._came[arrival.number] = len(data)
        return b"".join(new)

    def events(self) -> list[dict[str, Any]]:
        """What was recorded since this was asked last."""
        new = []
        for file in sorted(self.proxy.state.glob("audit/worker-*.jsonl")):
            with file.open("rb") as log:
                log.seek(self._read.get(file, 0))
                data = log.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[file] = self._read.get(file, 0) + len(whole)
            new += [json.loads(line) for line in whole.splitlines()]
        return [plain(event) for event in new]


def _at_rest(record: Record) -> bool:
    """Whether every connection has closed, or waits for its next request."""
    asked = {id(request.connection) for request in record._requests}
    busy = {id(request.connection) for request in record._requests if not request.complete}
    return all(each.closed or (id(each) in asked and id(each) not in busy) for each in record._connections)


def _all(client: RawClient) -> bytes:
    """What comes until the end; `OSError` for a reset, which `RawClient` takes for one."""
    parts = [client._buffer]
    while data := client._socket.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def plain(event: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in event.items() if name not in _OWN and not name.endswith("_ms")}
    return kept | {"detail": re.sub(r"^refused \d+ times; ", "", event["detail"])}


@dataclass
class Lanes:
    fast: Lane
    other: Lane

    def answer_with(self, answer: Answer) -> None:
        for lane in (self.fast, self.other):
            lane.upstream.otherwise(answer)

    def send(self, stream: bytes) -> tuple[Seen, Seen]:
        """What both make of a stream. An event may be written just after its client has its answer."""
        passed = [lane.send(stream) for lane in (self.fast, self.other)]
        events = [lane.events() for lane in (self.fast, self.other)]
        deadline = time.monotonic() + SETTLED
        while (len(events[0]) != len(events[1]) or not events[0]) and time.monotonic() < deadline:
            time.sleep(0.01)
            events = [old + lane.events() for old, lane in zip(events, (self.fast, self.other), strict=True)]
        fast, other = (Seen(*each, found) for each, found in zip(passed, events, strict=True))
        return fast, other


@contextmanager
def both(folder: Path) -> Iterator[Lanes]:
    with ExitStack() as stack:
        lanes = []
        for name, kind in (("fast", Outgate), ("other", OtherLane)):
            place = folder / name
            place.mkdir()
            upstream = stack.enter_context(Upstream(place, tls=False))
            proxy = stack.enter_context(kind(place, POLICY, connect_to={f"{HOST}:80": upstream.port}))
            lanes.append(Lane(proxy, upstream))
        yield Lanes(*lanes)
