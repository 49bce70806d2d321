"""A proxy of one run's own: a supervisor in a process of its own, which ends when its launcher does."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from proxy import terminal
from proxy.errors import ConfigError, OutgateError
from proxy.policy.rules import Policy
from proxy.sandbox import handover
from proxy.sandbox.child import ENDING, deferred
from proxy.settings import Settings
from proxy.state import StateDir, why
from proxy.watch import Snapshot

MESSAGES = "proxy.log"
"""The file in the folder of a run that gets what a proxy says to stderr: the terminal is the command's."""


@dataclass(frozen=True, slots=True)
class OwnProxy:
    """The process and the connection to it; closing that ends it."""

    pid: int
    control: socket.socket

    def end(self) -> int:
        """End it, and wait for that; its exit status."""
        self.control.close()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def start(settings: Settings, policies: Sequence[Policy], seen: Snapshot, state: StateDir) -> OwnProxy:
    """Start a proxy for the run that `state` names. What is wrong with it is said to who hands a sandbox over.

    Raises `ConfigError` if its messages have no place. Call it before there are threads.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        messages = os.open(state.own / MESSAGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write to the folder of the run: {why(error)}", "", str(state.own)) from None
    with deferred():
        pid = os.fork()
        if pid == 0:
            _be_the_proxy(settings, policies, seen, state, theirs, (ours, messages))
    theirs.close()
    os.close(messages)
    return OwnProxy(pid, ours)


def _be_the_proxy(  # noqa: PLR0913, PLR0917  what `start` has
    settings: Settings,
    policies: Sequence[Policy],
    seen: Snapshot,
    state: StateDir,
    launcher: socket.socket,
    others: tuple[socket.socket, int],
) -> NoReturn:
    """The new process, to its end."""
    status = 70
    try:
        control, messages = others
        control.close()
        os.setsid()  # what the terminal sends to the command is none of its business
        _redirect(messages)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = _serve(settings, policies, seen, state, launcher)
    except Exception as error:  # noqa: BLE001  the last line of this process, as `proxy.cli` is of others
        terminal.report_crash(error, debug=os.environ.get("OUTGATE_DEBUG") == "1")
    finally:
        os._exit(status)


def _redirect(messages: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (null, 1), (messages, 2)):
        os.dup2(source, target)
    for fd in (null, messages):
        os.close(fd)


def _serve(
    settings: Settings, policies: Sequence[Policy], seen: Snapshot, state: StateDir, launcher: socket.socket
) -> int:
    # structlog draws tracebacks with it, which nobody asks for here; importing it is a tenth of the start.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from proxy.engine import supervisor

    try:
        return supervisor.serve(settings, policies, seen, run=state.run, launcher=launcher)
    except OutgateError as error:
        handover.answer(launcher, error)
        return error.exit_code
