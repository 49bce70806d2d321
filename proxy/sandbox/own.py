"""A proxy of one run's own: a supervisor in a process of its own, which ends when its launcher does.

It is started before there is anything to serve: it loads the engine while its launcher reads the policy and makes the
sandbox, which takes as long.
"""

import contextlib
import gc
import os
import pickle
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

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
class Work:
    """What the proxy is to do: serve this policy, as the run that `state` names. `seen` as in `proxy.watch.Watch`."""

    settings: Settings
    policy: Policy
    seen: Snapshot
    state: StateDir


@dataclass(frozen=True, slots=True)
class OwnProxy:
    """The process, the connection to it (closing that ends it), and where it waits for its work."""

    pid: int
    control: socket.socket
    waiting: BinaryIO

    def begin(self, work: Work) -> None:
        """Let it serve. What is wrong with it is said to who hands a sandbox over."""
        with contextlib.suppress(BrokenPipeError), self.waiting:  # one that ended is found so at the hand-over
            _Pickler(self.waiting).dump(work)

    def end(self) -> int:
        """End it, and wait for that; its exit status."""
        self.control.close()
        if not self.waiting.closed:
            os.kill(self.pid, signal.SIGKILL)  # it has no work yet, so there is nothing to end well
            self.waiting.close()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def start() -> OwnProxy:
    """Start the process. Call it before there are threads."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    with deferred():
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(writing)
            _be_the_proxy(theirs, reading)
    theirs.close()
    os.close(reading)
    return OwnProxy(pid, ours, os.fdopen(writing, "wb"))


def _be_the_proxy(launcher: socket.socket, waiting: int) -> NoReturn:
    """The new process, to its end."""
    status = 70
    try:
        os.setsid()  # what the terminal sends to the command is none of its business
        _redirect(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 0, 1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = _serve(launcher, waiting)
    except Exception as error:  # noqa: BLE001  the last line of this process, as `proxy.cli` is of others
        terminal.report_crash(error, debug=os.environ.get("OUTGATE_DEBUG") == "1")
    finally:
        os._exit(status)


def _serve(launcher: socket.socket, waiting: int) -> int:
    # structlog draws tracebacks with it, which nobody asks for here; importing it is a tenth of the start.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    gc.disable()  # what is imported stays, so the collector need not look at it
    from proxy.engine import supervisor

    gc.freeze()
    gc.enable()
    try:
        with os.fdopen(waiting, "rb") as pipe:
            work: Work = pickle.load(pipe)  # noqa: S301  from the process that this one was forked from, and no other
    except (EOFError, pickle.UnpicklingError):
        return 0  # it is gone, before it had work or while it said what
    try:
        _redirect(_messages(work.state), 2)
        return supervisor.serve(work.settings, [work.policy], work.seen, run=work.state.run, launcher=launcher)
    except OutgateError as error:
        handover.answer(launcher, error)
        return error.exit_code


def _messages(state: StateDir) -> int:
    try:
        return os.open(state.own / MESSAGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write to the folder of the run: {why(error)}", "", str(state.own)) from None


def _redirect(opened: int, *targets: int) -> None:
    for target in targets:
        os.dup2(opened, target)
    os.close(opened)


class _Pickler(pickle.Pickler):
    """Takes the read-only mappings of policies too."""

    def reducer_override(self, value: Any) -> Any:
        return (_read_only, (dict(value),)) if isinstance(value, MappingProxyType) else NotImplemented


def _read_only(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)
