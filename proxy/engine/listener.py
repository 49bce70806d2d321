"""The listener: accepts clients on a socket that was opened before, and gives each a handler of ours.

Registers a proxy mode with mitmproxy, so that neither its handler nor its listener has to be patched.
"""

import asyncio
import socket
import time
from typing import Any, ClassVar

import structlog
from mitmproxy import ctx
from mitmproxy.proxy import layer, mode_servers, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes

from proxy import limits
from proxy.engine.handler import Handler
from proxy.engine.state import Services

log = structlog.get_logger("engine")


class OutgateMode(mode_specs.RegularMode):
    """mitmproxy's mode `outgate`: an explicit proxy."""

    description = "outgate"


class Listener(mode_servers.AsyncioServerInstance[OutgateMode]):
    """The server of that mode. `services` and `socket` are set before it starts; one listener per process."""

    services: ClassVar[Services]
    socket: ClassVar[socket.socket]

    def make_top_layer(self, context: Context) -> layer.Layer:
        return modes.HttpProxy(context)

    async def listen(self, host: str, port: int) -> list[Any]:  # noqa: ARG002
        return [await asyncio.start_server(self.handle_stream, sock=type(self).socket, backlog=limits.BACKLOG)]

    async def handle_stream(self, reader: Any, writer: Any = None) -> None:
        """Serve one client to its end."""
        if len(self.manager.connections) >= limits.MAX_CLIENTS:
            log.warning("too many clients; one was turned away", clients=len(self.manager.connections))
            writer.transport.abort()
            return
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handler = Handler(ctx.master, reader, writer, self.mode, self.services)
        handler.layer = self.make_top_layer(handler.layer.context)
        with self.manager.register_connection(handler.client.id, handler):
            await handler.handle_client()
            # Counted until its socket is closed: a client that reads nothing keeps it long after its last answer.
            await handler.lingered()


async def enforce_deadlines(manager: mode_servers.ServerManager) -> None:
    """Look at every connection once a second, for ever, and cut those that are overdue."""
    while True:
        await asyncio.sleep(1)
        now = time.monotonic()
        for handler in list(manager.connections.values()):
            assert isinstance(handler, Handler)
            handler.enforce_deadline(now)
