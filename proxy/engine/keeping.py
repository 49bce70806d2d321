"""The supervisor's hand in keeping the audit log in order: a child of low priority, now and then, that does the work.

A child, because signing waits for the disk and compressing takes seconds, and the supervisor watches workers meanwhile.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

import structlog

from proxy import limits
from proxy.audit import files, key
from proxy.audit.keeper import closed_files, compress, sign
from proxy.audit.segments import segments
from proxy.errors import ConfigError
from proxy.state import StateDir

log = structlog.get_logger("audit")

_PR_SET_PDEATHSIG = 1
_NICENESS = 19


class Keeping:
    """`become_child` is called in each child first, and lets go of what is the supervisor's alone.

    Raises `ConfigError` if there can be no key.
    """

    def __init__(self, state: StateDir, sync: files.Sync, become_child: Callable[[], None]) -> None:
        self.public_key = key.public_hex(key.load_or_create(state))
        self._state, self._sync, self._become_child = state, sync, become_child
        self._pid = 0
        self._due = 0.0
        self._written: dict[str, int] = {}  # the inode of each file that is written, by its name

    def begin(self) -> None:
        """Sign where the log stands before anything is served."""
        self._sign()
        self._due = time.monotonic() + limits.CHECKPOINT_TIME
        self._rotated()
        if closed_files(self._state.audit):
            self._due = 0.0

    def turn(self) -> None:
        """Start a child, if a checkpoint is due or a file was closed, and none is at work."""
        rotated = self._rotated()
        if rotated:
            self._due = 0.0
        if self._pid or time.monotonic() < self._due:
            return
        try:
            self._pid = os.fork()
        except OSError as error:
            log.error("the audit log could not be kept in order yet", error=str(error))  # noqa: TRY400 - the machine is short of something
            return
        self._due = time.monotonic() + limits.CHECKPOINT_TIME
        if not self._pid:
            self._work()

    def reaped(self, pid: int, status: int) -> bool:
        """Whether the process that ended was our child."""
        if pid != self._pid:
            return False
        self._pid = 0
        if status:
            log.error("keeping the audit log in order failed; it is tried again", status=status)
        return True

    def end(self) -> None:
        """Sign where the log stands when nobody writes any more. What was not compressed waits for the next start."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = 0
        self._sign()

    def _sign(self) -> None:
        try:
            sign(self._state.audit, key.load(self._state), self._sync)
        except ConfigError as error:
            log.error("a checkpoint of the audit log could not be signed", error=str(error))  # noqa: TRY400 - the key is gone

    def _rotated(self) -> bool:
        """Whether a file that was written at the last look was closed since."""
        before, now = self._written, {}
        with contextlib.suppress(OSError):
            for name in before or _logs(self._state):
                now[name] = (self._state.audit / f"{name}.jsonl").stat().st_ino
        self._written = now
        return any(now.get(name, inode) != inode for name, inode in before.items())

    def _work(self) -> None:
        status = 70
        try:
            _die_with_parent()
            self._become_child()
            os.nice(_NICENESS)
            self._sign()
            compress(self._state.audit)
            status = 0
        except Exception as error:
            log.exception("keeping the audit log in order failed", error=type(error).__name__)
        finally:
            os._exit(status)


def _logs(state: StateDir) -> set[str]:
    return {each.log for each in segments(state.audit)}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
