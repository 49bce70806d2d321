"""The recording upstream in HTTP/2, on the `h2` library. Pseudo-headers are recorded among the headers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, TrailersReceived, WindowUpdated
from hyperframe.frame import GoAwayFrame

from tests.support.pki import Authority
from tests.support.record import Arrival, Received
from tests.support.upstream import Gate, Upstream
from tests.support.wire import Wire


@dataclass(frozen=True)
class GoAway:
    """Among the parts of an answer: the server takes no stream above `last` any more, and ends the others."""

    last: int


@dataclass(frozen=True)
class H2Answer:
    """What to answer: `parts` are sent one by one as data; a `Gate` among them is a pause until the test opens it.

    `early` answers from the head, before the request's body has ended (as bidirectional gRPC does); once `reset` is
    opened, it asks for no more of that.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    parts: Sequence[bytes | Gate | GoAway] = (b"ok",)
    trailers: tuple[tuple[str, str], ...] = ()
    early: bool = False
    reset: Gate | None = None


@dataclass
class _Session:
    """One connection's state."""

    connection: H2Connection
    wire: Wire
    streams: dict[int, Received] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    window: asyncio.Event = field(default_factory=asyncio.Event)

    async def flush(self) -> None:
        await self.wire.send(self.connection.data_to_send())


class H2Upstream(Upstream):
    """An HTTP/2 server over TLS. `answers` maps a path (without query) to its answer; the default is `ok`.

    `max_streams` is how many it takes at once; it holds for connections that come later.
    """

    def __init__(self, folder: Path, *, names: tuple[str, ...] = (), authority: Authority | None = None) -> None:
        super().__init__(folder, names=names, alpn=("h2",), authority=authority)
        self.answers: dict[str, H2Answer] = {}
        self.max_streams = 100

    async def serve(self, arrival: Arrival, wire: Wire) -> None:
        session = _Session(H2Connection(H2Configuration(client_side=False, header_encoding="utf-8")), wire)
        session.connection.local_settings.max_concurrent_streams = self.max_streams
        session.connection.local_settings.acknowledge()
        session.connection.initiate_connection()
        await session.flush()
        try:
            while data := await wire.reader.read(1 << 16):
                for event in session.connection.receive_data(data):
                    self._take(session, arrival, event)
                await session.flush()
        finally:
            for task in session.tasks.values():
                task.cancel()

    def _take(self, session: _Session, arrival: Arrival, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._start(session, arrival, event)
        elif isinstance(event, DataReceived):
            self.record.grow(session.streams[event.stream_id].buffer, event.data)
            session.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            session.streams[event.stream_id].trailers += _texts(event.headers)
        elif isinstance(event, StreamEnded):
            request = session.streams[event.stream_id]
            self.record.change(lambda: setattr(request, "complete", True))
            self._answer(session, event.stream_id)
        elif isinstance(event, WindowUpdated):
            session.window.set()
        elif isinstance(event, StreamReset) and (task := session.tasks.get(event.stream_id)):
            task.cancel()

    def _start(self, session: _Session, arrival: Arrival, event: RequestReceived) -> None:
        headers = _texts(event.headers)
        fields = dict(headers)
        request = Received(arrival, fields[":method"], fields.get(":path", ""), "HTTP/2", headers)
        session.streams[event.stream_id] = request
        self.record.received(request)
        if self._chosen(request).early:
            self._answer(session, event.stream_id)

    def _chosen(self, request: Received) -> H2Answer:
        return self.answers.get(request.target.partition("?")[0], H2Answer())

    def _answer(self, session: _Session, stream: int) -> None:
        if stream not in session.tasks:
            answer = self._chosen(session.streams[stream])
            session.tasks[stream] = asyncio.ensure_future(_send(session, stream, answer))


async def _send(session: _Session, stream: int, answer: H2Answer) -> None:
    connection = session.connection
    alone = not answer.parts and not answer.trailers
    connection.send_headers(stream, [(":status", str(answer.status)), *answer.headers], end_stream=alone)
    await session.flush()
    for part in answer.parts:
        if isinstance(part, GoAway):
            # By hand: `h2` closes a connection that it says goodbye on.
            await session.wire.send(GoAwayFrame(0, last_stream_id=part.last).serialize())
        else:
            await (part.wait() if isinstance(part, Gate) else _send_data(session, stream, part))
    if answer.trailers:
        connection.send_headers(stream, list(answer.trailers), end_stream=True)
    elif not alone:
        connection.end_stream(stream)
    await session.flush()
    if answer.reset:
        await answer.reset.wait()
        connection.reset_stream(stream, 0)
        await session.flush()


async def _send_data(session: _Session, stream: int, data: bytes) -> None:
    connection = session.connection
    while data:
        session.window.clear()
        size = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, len(data))
        if size:
            connection.send_data(stream, data[:size])
            data = data[size:]
            await session.flush()
        else:
            await session.window.wait()


def _texts(headers: object) -> list[tuple[str, str]]:
    assert isinstance(headers, list)
    return [(_text(name), _text(value)) for name, value in headers]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
