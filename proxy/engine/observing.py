"""The supervisor's hand in telling what is measured: a child that answers on the operator's address.

A child, because the supervisor serves nobody. Workers and supervisor write their numbers to boards that it reads.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from proxy.endpoint import Listen
from proxy.metrics.board import Board
from proxy.metrics.server import Page, serve

log = structlog.get_logger("metrics")

_PAUSE = 5.0  # seconds between two tries to start the child


class Observing:
    """`become_child` is called in each child first, and lets go of what is the supervisor's alone, `listening` too."""

    def __init__(
        self, listening: socket.socket, workers: int, checkpoints: Path, become_child: Callable[[], None]
    ) -> None:
        self.listening = listening
        host, port = listening.getsockname()[:2]
        self.address = Listen(ip_address(host), port)
        self.boards = [Board() for _ in range(workers)]
        self._page = Page(self.boards, Board(), checkpoints)
        self._become_child = become_child
        self._pid = 0
        self._due = 0.0

    def turn(self, values: dict[str, Any]) -> None:
        """Tell what is new of the supervisor, and see that somebody answers."""
        self._page.supervisor.put({**values, "at": time.time()})
        if self._pid or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _PAUSE
        supervisor = os.getpid()
        try:
            self._pid = os.fork()
        except OSError as error:
            log.error("metrics cannot be read yet", error=str(error))  # noqa: TRY400 - the machine is short of something
            return
        if not self._pid:
            self._work(supervisor)

    def reaped(self, pid: int) -> bool:
        """Whether the process that ended was our child."""
        if not pid or pid != self._pid:
            return False
        self._pid = 0
        log.error("what answers for metrics ended; it is started again")
        return True

    def end(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = 0
        self.listening.close()

    def _work(self, parent: int) -> None:
        status = 70
        try:
            listening = self.listening.dup()
            self._become_child()
            serve(listening, self._page, lambda: os.getppid() == parent)
        except SystemExit:
            status = 0
        except Exception as error:
            log.exception("answering for metrics failed", error=type(error).__name__)
        finally:
            os._exit(status)
