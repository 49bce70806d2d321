"""An upstream on 127.0.0.1 that records every byte that arrives and answers as it is told.

Its own small HTTP/1.1 parser is on purpose: a library would tidy up what the test must see.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsIndex

from tests.support.pki import Authority
from tests.support.record import Arrival, Received, Record
from tests.support.wire import Wire, read_head

type Answer = Callable[[Received, Wire], Awaitable[None]]


class Gate:
    """A switch that an answer waits for and a test opens, instead of a sleep."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


class _Tap(asyncio.StreamReader):
    """A reader that keeps a copy of every byte, read or not."""

    def __init__(self, record: Record, arrival: Arrival) -> None:
        super().__init__(limit=1 << 20)
        self._record, self._arrival = record, arrival

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self._record.grow(self._arrival.raw, bytes(data))
        super().feed_data(data)


async def ok(request: Received, wire: Wire) -> None:
    """The answer where no other is set: 200 with a little JSON, after the whole body."""
    await wire.body(request)
    await wire.head(200, {"Content-Type": "application/json", "Content-Length": "12"})
    await wire.send(b'{"ok": true}')


class Upstream:
    """An HTTP/1.1 server in a thread of its own, with a certificate for whatever name the client asks for.

    `names` fixes the names of the certificate instead; `tls=False` speaks plain HTTP.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: bool = True,
        names: tuple[str, ...] = (),
        alpn: tuple[str, ...] = ("http/1.1",),
        expired: bool = False,
        authority: Authority | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.record = Record()
        self.authority = authority or Authority(folder)
        self._tls, self._names, self._alpn, self._expired = tls, names, alpn, expired
        self._answers: dict[str, Answer] = {}
        self._default: Answer = ok
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._hellos: dict[int, str | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(address)
        self._listener.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def ca_file(self) -> Path:
        return self.authority.ca_file

    def on(self, path: str, answer: Answer) -> None:
        """Answer requests for a path (without its query) so."""
        self._answers[path] = answer

    def otherwise(self, answer: Answer) -> None:
        """Answer every other request so."""
        self._default = answer

    def gate(self) -> Gate:
        return Gate(self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()
        for task in (accepting, *self._tasks):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(accepting, *self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self) -> None:
        # Accepted by hand, so that a connection counts from its first packet, not from its TLS handshake.
        while True:
            sock, _ = await self._loop.sock_accept(self._listener)
            # asyncio sets it on sockets that it opened itself; without it each answer in two parts takes 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._handle(sock, self.record.arrived()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, sock: socket.socket, arrival: Arrival) -> None:
        reader = _Tap(self.record, arrival)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = None
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._greeter() if self._tls else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            self._note_tls(arrival, writer)
            await self.serve(arrival, Wire(reader, writer, self.record))
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError, ValueError) as error:
            text = repr(error)
            self.record.change(lambda: setattr(arrival, "error", text))
        finally:
            if transport is not None:
                transport.abort()
            self.record.change(lambda: setattr(arrival, "closed", True))

    def _greeter(self) -> ssl.SSLContext:
        greeter = self._context("localhost")
        greeter.sni_callback = self._hello
        return greeter

    def _hello(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._hellos[id(connection)] = name
        connection.context = self._context(name or "localhost")

    def _context(self, name: str) -> ssl.SSLContext:
        names = self._names or (name,)
        if names[0] not in self._contexts:
            context = self.authority.server_context(*names, alpn=self._alpn, expired=self._expired)
            self._contexts[names[0]] = context
        return self._contexts[names[0]]

    def _note_tls(self, arrival: Arrival, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        if connection is None:
            return
        name, alpn = self._hellos.pop(id(connection), None), connection.selected_alpn_protocol()

        def note() -> None:
            arrival.tls, arrival.sni, arrival.alpn = True, name, alpn

        self.record.change(note)

    async def serve(self, arrival: Arrival, wire: Wire) -> None:
        """Answer the requests of one connection, until either side is done."""
        while (request := await read_head(wire.reader, arrival)) is not None:
            self.record.received(request)
            answer = self._answers.get(request.target.partition("?")[0], self._default)
            await answer(request, wire)
            if wire.writer.is_closing():
                return
            await wire.body(request)
