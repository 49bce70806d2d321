"""One log with a hash chain: appended to, closed by size and age, continued by whoever opens it next.

Closing a file is two steps on names, so a worker can do it between two lines: the old file gets its name of a closed
one beside its first, then an empty one takes that. The log is under its name throughout, and a disk that is full leaves
things as they are. Compressing is somebody else's work: `proxy.audit.keeper`.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from proxy.audit import files, segments
from proxy.audit.chain import Head, seal
from proxy.audit.tail import first_line, first_number, head_of, tail_of, torn_record
from proxy.errors import ConfigError

_AGAIN = 60.0  # seconds after which a file that could not be closed is closed

log = structlog.get_logger("audit")


class ChainedLog:
    """The log `name` in `folder`, for one writer at a time. Raises `ConfigError` if it cannot be opened.

    `before_closing` is called before a file is closed; if it raises `OSError`, the file stays open.
    """

    before_closing: Callable[[], None] | None = None

    def __init__(self, folder: Path, name: str, options: files.Options) -> None:
        self._folder, self._name, self._options = folder, name, options
        self._fd = files.open_append(segments.live(folder, name))
        try:
            tail = tail_of(self._fd)
            self._head = head_of(folder, name, tail)
            # Written before the next line, and with it: what is left of a line that a killed writer began.
            self._owed = torn_record(self._fd, tail) if tail.torn else b""
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(
                f"cannot read the audit log: {error.strerror}",
                "move the damaged file away",
                str(segments.live(folder, name)),
            ) from error
        self._ends_open = tail.size > 0 and os.pread(self._fd, 1, tail.size - 1) != b"\n"
        self._size = tail.size
        self._linked = tail.link is not None  # whether a line of this file has a link yet
        line = first_line(self._fd)
        self._first = first_number(self._fd) if self._linked else 0
        _take_back(segments.closed(folder, name, self._first), segments.live(folder, name))
        self._full = options.max_bytes
        self._until = time.monotonic() + options.max_age - _age(line)

    @property
    def head(self) -> Head:
        return self._head

    def write(self, *lines: bytes) -> None:
        """Append lines of JSON in one `write`. Raises `OSError`; then none of them is there."""
        if (self._size >= self._full or time.monotonic() >= self._until) and self._size and not self._ends_open:
            self._close_file()
        (seq, value), linked, sealed = self._head, self._linked, b"\n" if self._ends_open else b""
        for line in (self._owed, *lines) if self._owed else lines:
            seq += 1
            one, value = seal(line, seq, value, first=not linked)
            sealed, linked = sealed + one, True
        files.write(self._fd, sealed, sync=self._options.sync == "always")
        if not self._linked:
            self._first = self._head.seq + 1
        if not self._size:
            self._until = time.monotonic() + self._options.max_age
        self._head, self._linked, self._size = Head(seq, value), linked, self._size + len(sealed)
        self._owed, self._ends_open = b"", False

    def close(self) -> None:
        os.close(self._fd)

    def _close_file(self) -> None:
        """Go on in a new file; in the old one, if that cannot be."""
        path = segments.live(self._folder, self._name)
        try:
            if self.before_closing is not None:
                self.before_closing()
            fresh = self._swap(path, segments.closed(self._folder, self._name, self._first))
        except (OSError, ConfigError) as error:
            log.error("the audit log goes on in the old file: it could not be rotated", log=path.name, error=str(error))  # noqa: TRY400 - a full disk is no bug
            self._full, self._until = self._size * 2, time.monotonic() + _AGAIN
            return
        os.close(self._fd)
        self._fd, self._size, self._linked, self._full = fresh, 0, False, self._options.max_bytes

    def _swap(self, path: Path, closed: Path) -> int:
        draft = path.with_suffix(".next")
        draft.unlink(missing_ok=True)
        fresh = files.open_append(draft, os.O_EXCL)
        try:
            closed.hardlink_to(path)
            draft.replace(path)
        except OSError:
            os.close(fresh)
            with suppress(OSError):
                draft.unlink()
            _take_back(closed, path)
            raise
        return fresh


def _take_back(closed: Path, path: Path) -> None:
    """Take the name of a closed file from one that is still written: there is no room, or its writer died."""
    with suppress(OSError):
        if closed.samefile(path):
            closed.unlink()


def _age(line: bytes) -> float:
    """Seconds since the time of a line; 0 for one that has none, or one that is not over."""
    try:
        written = datetime.fromisoformat(json.loads(line)["time"])
        return max(0.0, (datetime.now(UTC) - written).total_seconds())
    except (ValueError, KeyError, TypeError):
        return 0.0
