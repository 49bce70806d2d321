"""Sandboxes that launchers hand over, on the supervisor's side: who asks, what is open, and the workers that are told.

A sandbox is open as long as its launcher's connection. A worker that cannot be told is one that must be replaced.
"""

import itertools
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from proxy import limits
from proxy.engine.sandboxes import Opened, closing, opening
from proxy.errors import ConfigError
from proxy.sandbox import handover
from proxy.session import Bound

log = structlog.get_logger("supervisor")


class Handover:
    """The control socket at `path`, its connections, and the sandboxes that came over them.

    `launcher` is the connection of the launcher that started this proxy, for itself alone; then there is no control
    socket, and `ended` tells when it is gone.
    """

    def __init__(self, path: Path, launcher: socket.socket | None) -> None:
        self._control = handover.listen(path) if launcher is None else None
        self._path = path
        self._launcher = launcher
        self._opened: dict[socket.socket, Opened | None] = {} if launcher is None else {launcher: None}
        self._numbers = itertools.count(1)

    @property
    def ended(self) -> bool:
        """Whether the launcher that this proxy was started for is gone."""
        return self._launcher is not None and self._launcher not in self._opened

    @property
    def opened(self) -> list[Opened]:
        return [each for each in self._opened.values() if each is not None]

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for, and to close in a worker: there is something to do where one of these can be read."""
        return [*self._opened, *([] if self._control is None else [self._control])]

    def look(
        self, readable: Iterable[socket.socket], policies: Iterable[str], workers: Mapping[int, socket.socket]
    ) -> set[int]:
        """Do what is asked on these sockets. `policies` are the names of those that are served.

        Returns the workers, by process id, that could not be told.
        """
        lost: set[int] = set()
        for sock in readable:
            if sock is self._control:
                self._accept()
            elif sock in self._opened:
                lost |= self._serve(sock, [*policies], workers)
        return lost

    def close(self) -> None:
        """Let go of everything; the path is free again."""
        for sock in self.sockets:
            sock.close()
        for each in self.opened:
            each.listening.close()
        if self._control is not None:
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._control is not None
        try:
            connection, _ = self._control.accept()
        except OSError:
            return
        if len(self._opened) >= limits.MAX_SANDBOXES or not handover.same_user(connection):
            handover.answer(connection, ConfigError("the proxy serves no more sandboxes", "end one, or start another"))
            connection.close()
            return
        connection.setblocking(False)
        self._opened[connection] = None

    def _serve(self, connection: socket.socket, policies: list[str], workers: Mapping[int, socket.socket]) -> set[int]:
        try:
            received = handover.receive(connection)
            if received is None:
                return self._end(connection, workers)
            request, listening = received
            try:
                self._check(connection, request, policies)
            except BaseException:
                listening.close()
                raise
        except (handover.BadRequest, ConfigError) as error:
            refusal = error if isinstance(error, ConfigError) else ConfigError(str(error))
            handover.answer(connection, refusal)
            return self._end(connection, workers)
        listening.setblocking(False)
        bound = Bound(next(self._numbers), request.sandbox, request.policy, request.boundary)
        self._opened[connection] = opened = Opened(bound, listening)
        log.info("sandbox opened", sandbox=bound.sandbox, policy=bound.policy, boundary=bound.boundary.value)
        lost = _tell(workers, *opening(opened))
        handover.answer(connection)  # a launcher that is gone by now is found so at the next look
        return lost

    def _check(self, connection: socket.socket, request: handover.Request, policies: list[str]) -> None:
        if self._opened[connection] is not None:
            raise ConfigError("this connection has a sandbox already")
        if request.policy not in policies:
            raise ConfigError(f"the proxy has no policy {request.policy!r}", f"choose one: {', '.join(policies)}")
        if any(each.bound.sandbox == request.sandbox for each in self.opened):
            raise ConfigError(f"there is a sandbox {request.sandbox!r} already", "choose another name with --name")

    def _end(self, connection: socket.socket, workers: Mapping[int, socket.socket]) -> set[int]:
        opened = self._opened.pop(connection)
        connection.close()
        if opened is None:
            return set()
        opened.listening.close()
        log.info("sandbox closed", sandbox=opened.bound.sandbox)
        return _tell(workers, closing(opened.bound), [])


def _tell(workers: Mapping[int, socket.socket], message: bytes, descriptors: list[int]) -> set[int]:
    lost = set()
    for pid, sock in workers.items():
        try:
            socket.send_fds(sock, [message], descriptors, socket.MSG_DONTWAIT)
        except OSError:
            lost.add(pid)
    return lost
