"""Sandboxes that came with a socket of their own, on the worker's side: one server for each, open as long as it lasts.

The supervisor tells of them over a socket pair that only the two hold; see `proxy.engine.handover`.
"""

import asyncio
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.boundary import Boundary
from proxy.engine.accepting import Accepting
from proxy.engine.handler import Handler
from proxy.engine.lean import Proxyserver
from proxy.engine.listener import Listener
from proxy.session import Bound

_MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Opened:
    """A sandbox that is served: who comes in on its socket, and that socket, which listens."""

    bound: Bound
    listening: socket.socket


def opening(opened: Opened) -> tuple[bytes, list[int]]:
    """What a worker is told when there is a new sandbox: a message, and the descriptors that go with it."""
    bound = opened.bound
    return json.dumps([bound.number, bound.sandbox, bound.policy, bound.boundary]).encode(), [opened.listening.fileno()]


def closing(bound: Bound) -> bytes:
    """What a worker is told when a sandbox has ended."""
    return json.dumps([bound.number]).encode()


class Sandboxes:
    """The servers of one worker, by the number of the sandbox."""

    def __init__(self, manager: Proxyserver) -> None:
        self._manager = manager
        self._listener = next(each for each in manager.servers if isinstance(each, Listener))
        self._servers: dict[int, Accepting] = {}

    async def follow(self, control: socket.socket, opened: Iterable[Opened]) -> None:
        """Serve those that are there already, then do as the supervisor says. Raises what must end the worker."""
        for each in opened:
            self._open(each)
        while True:
            await _readable(control)
            data, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE, 1)
            if not data:  # the supervisor is gone; who follows that is told by another pipe
                await asyncio.Event().wait()
            number, *who = json.loads(data)
            if who:
                sandbox, policy, boundary = who
                (fd,) = descriptors
                self._open(Opened(Bound(number, sandbox, policy, Boundary(boundary)), socket.socket(fileno=fd)))
            else:
                self._close(number)

    def close(self) -> None:
        """Accept nobody any more; what is connected goes on."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _open(self, opened: Opened) -> None:
        self._servers[opened.bound.number] = self._listener.serve_sandbox(opened.bound, opened.listening)

    def _close(self, number: int) -> None:
        server = self._servers.pop(number, None)
        if server is not None:
            server.close()
        for handler in list(self._manager.connections.values()):
            if isinstance(handler, Handler) and handler.session.bound and handler.session.bound.number == number:
                handler.abort()
        for client in list(self._listener.lane.clients):
            if client.bound and client.bound.number == number:
                client.cut()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
