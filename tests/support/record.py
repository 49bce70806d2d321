"""What arrived at an upstream, kept so that a test can ask for it while the upstream still runs."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WAIT = 10.0


@dataclass
class Received:
    """One request. `raw_head` are its exact bytes up to the blank line (HTTP/1); `complete` once its body ended."""

    connection: "Arrival"
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    raw_head: bytes = b""
    buffer: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        """The body as far as it has arrived, without its framing."""
        return bytes(self.buffer)

    def values(self, name: str) -> list[str]:
        """Every value of a header field, in the order of arrival."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The one value of a header field, or None."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Arrival:
    """One accepted connection. `raw` is every byte inside TLS, parsed or not; `tls` says that the handshake is done."""

    number: int
    sni: str | None = None
    alpn: str | None = None
    tls: bool = False
    raw: bytearray = field(default_factory=bytearray)
    closed: bool = False
    error: str = ""


class Record:
    """Everything that arrived, under one lock. The upstream writes; tests read and wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._connections: list[Arrival] = []
        self._requests: list[Received] = []

    @property
    def connections(self) -> list[Arrival]:
        with self._changed:
            return list(self._connections)

    @property
    def requests(self) -> list[Received]:
        with self._changed:
            return list(self._requests)

    @property
    def last(self) -> Received:
        return self.requests[-1]

    def raw(self) -> bytes:
        """Every byte of every connection, in the order of the connections."""
        with self._changed:
            return b"".join(bytes(arrival.raw) for arrival in self._connections)

    def arrived(self) -> Arrival:
        with self._changed:
            arrival = Arrival(len(self._connections))
            self._connections.append(arrival)
            self._changed.notify_all()
            return arrival

    def received(self, request: Received) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def grow(self, buffer: bytearray, data: bytes) -> None:
        self.change(lambda: buffer.extend(data))

    def change(self, what: Callable[[], object]) -> None:
        """Make a change to what is recorded, and wake whoever waits for one."""
        with self._changed:
            what()
            self._changed.notify_all()

    def wait(self, until: Callable[["Record"], bool], timeout: float = WAIT) -> None:
        """Return once `until` holds; fail the test if it does not within `timeout` seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: until(self), timeout), "what the test waits for did not arrive"
