"""The listener: accepts clients on sockets that were opened before, and gives each a handler of ours.

Registers a proxy mode with mitmproxy, so that neither its handler nor its listener has to be patched.
"""

import asyncio
import socket
import time
from typing import Any, ClassVar

from mitmproxy.proxy import layer, mode_servers, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes

from proxy.engine.accepting import Accepting, Load
from proxy.engine.handler import Handler
from proxy.engine.inside import inside
from proxy.engine.state import Services
from proxy.fastlane import deadlines
from proxy.fastlane.client import ClientSide
from proxy.fastlane.lane import Lane
from proxy.session import Bound, Session

type Socket = socket.socket  # the class below has an attribute of the module's name


class OutgateMode(mode_specs.RegularMode):
    """mitmproxy's mode `outgate`: an explicit proxy."""

    description = "outgate"


class Listener(mode_servers.AsyncioServerInstance[OutgateMode]):
    """The server of that mode. `services`, `load` and `socket` are set before it starts; one listener per process.

    `fast` says that clients come in on the fast lane. It is true but in tests of what both lanes have in common.
    """

    fast: ClassVar[bool] = True
    services: ClassVar[Services]
    load: ClassVar[Load]
    socket: ClassVar[Socket | None]  # None: there are sandboxes with sockets of their own, and nobody else

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed: set[asyncio.Task[None]] = set()
        self.lane = Lane(
            gate=self.services.gate,
            dialer=self.services.dialer,
            leaf_contexts=self.services.leaf_contexts,
            upstream_context=self.services.upstream_tls,
            hand_over=self.hand_over,
            others=lambda: len(self.manager.connections),
            tell=self.load.tell,
        )

    def make_top_layer(self, context: Context) -> layer.Layer:
        return modes.HttpProxy(context)

    async def listen(self, host: str, port: int) -> list[Any]:  # noqa: ARG002
        sock = type(self).socket
        return [] if sock is None else [self._accept_on(sock, None)]

    def serve_sandbox(self, bound: Bound, sock: Socket) -> Accepting:
        """Accept the clients of one sandbox on its own socket, as many as are its share."""
        return self._accept_on(sock, bound)

    def _accept_on(self, sock: Socket, bound: Bound | None) -> Accepting:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve_client(reader, writer, bound)

        def make() -> asyncio.BaseProtocol:
            if self.fast:
                return ClientSide(self.lane, bound)
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), handle)

        return Accepting(sock, make, self.lane.count, self.load)

    async def handle_stream(self, reader: Any, writer: Any = None) -> None:
        """Serve one client to its end."""
        await self._serve_client(reader, writer, None)

    async def _serve_client(self, reader: Any, writer: Any, bound: Bound | None) -> None:
        if not self.lane.enter(bound):
            writer.transport.abort()
            return
        handler = Handler(reader, writer, self.mode, self.services)
        handler.session.bound = bound
        handler.layer = self.make_top_layer(handler.layer.context)
        await self._run(handler)

    def hand_over(self, transport: asyncio.Transport, session: Session, data: bytes, *, writable: bool) -> None:
        """Go on with a client inside a CONNECT that was judged and answered. `data` is what it sent since."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if not writable:
            protocol.pause_writing()  # the transport said so to its former protocol, and will not say it again
        transport.resume_reading()  # before the reader may pause it
        if data:
            reader.feed_data(data)
        handler = Handler(reader, writer, self.mode, self.services, session)
        assert session.target is not None
        handler.layer = inside(handler.client, handler.layer.context.options, session.target)
        task = loop.create_task(self._run(handler))
        self._handed.add(task)
        task.add_done_callback(self._handed.discard)

    async def _run(self, handler: Handler) -> None:
        try:
            await self._handle(handler)
        finally:
            self.lane.left(handler.session.bound)

    async def _handle(self, handler: Handler) -> None:
        with self.manager.register_connection(handler.client.id, handler):
            await handler.handle_client()
            # Counted until its socket is closed: a client that reads nothing keeps it long after its last answer.
            await handler.lingered()


async def enforce_deadlines(manager: mode_servers.ServerManager, lane: Lane) -> None:
    """Look at every connection once a second, for ever, and cut those that are overdue."""
    while True:
        await asyncio.sleep(1)
        now = time.monotonic()
        for handler in list(manager.connections.values()):
            assert isinstance(handler, Handler)
            handler.enforce_deadline(now)
        for client in list(lane.clients):
            deadlines.enforce(client, now)
        lane.pool.sweep(now)
