"""Events on standard output, for containers whose platform collects it. No chain: who collects keeps the record.

All workers share one pipe, which may take half of a long line. So a line is written under a lock that its worker holds
until the line is whole, and never waits: a pipe that is full refuses, and with it the request.
"""

import errno
import fcntl
import os
import select
import stat
import time
from pathlib import Path

from proxy.audit import files

_TRIES, _PAUSE = 50, 0.0002  # how often, and after how many seconds, a worker asks for the lock


def prepare(fd: int = 1) -> None:
    """Let no write to standard output wait. A terminal stays as it is: other programs use it, too."""
    if _is_pipe(fd):
        os.set_blocking(fd, False)


class StandardOutput:
    """Standard output, shared with other processes through the lock file at `path`."""

    def __init__(self, path: Path, fd: int = 1) -> None:
        self._fd, self._lock = fd, files.open_append(path)
        self._atomic = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(fd).st_mode) else 0  # pipe(7)
        self._half: tuple[bytes, int] | None = None  # a line, and how much of it is out; the lock is ours meanwhile

    def write(self, *lines: bytes) -> None:
        """Write whole lines. Raises `OSError` if they are not out; then the same ones must come next."""
        data = b"".join(lines)
        if self._half is None:
            self._take()
            try:
                self._begin(data)
            except OSError:
                if self._half is None:
                    self._let_go()
                raise
        self._go_on()
        self._let_go()

    def close(self) -> None:
        os.close(self._lock)

    def _begin(self, data: bytes) -> None:
        # A lock file that is not empty: somebody died within a line. A line break keeps what comes apart from it.
        torn = os.fstat(self._lock).st_size > 0
        line = b"\n" + data if torn else data
        if len(line) <= self._atomic:
            self._send(line)
            if torn:
                os.ftruncate(self._lock, 0)
            self._half = (line, len(line))
            return
        if not torn:
            os.write(self._lock, b"!")
        self._half = (line, 0)

    def _go_on(self) -> None:
        line, done = self._half or (b"", 0)
        while done < len(line):
            done += self._send(line[done:])
            self._half = (line, done)
        if len(line) > self._atomic:
            os.ftruncate(self._lock, 0)

    def _send(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def _take(self) -> None:
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            else:
                return
        raise OSError(errno.EAGAIN, "standard output is busy")

    def _let_go(self) -> None:
        self._half = None
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
