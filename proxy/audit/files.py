"""Append-only files: opened, written in whole lines, read from their ends."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from proxy.errors import ConfigError

type Sync = Literal["never", "checkpoint", "always"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the audit log is written. Bytes and seconds after which a file is closed; when it is forced to the disk:
    `always` is at every line, `checkpoint` at every checkpoint; whether events go to standard output instead.
    """

    max_bytes: int = 64 << 20
    max_age: float = 24 * 3600.0
    sync: Sync = "checkpoint"
    stdout: bool = False


def open_append(path: Path, flags: int = 0) -> int:
    """A descriptor to append to a file and to read it, which is made, mode 0600, if need be. Raises `ConfigError`."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND | flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open the audit log: {os.strerror(error.errno or 0)}",
            "make the state folder writable, or name another one with --state",
            str(path),
        ) from error


def write(fd: int, data: bytes, *, sync: bool = False) -> None:
    """Append whole lines, and with `sync` force them to the disk. Raises `OSError`; then nothing of them stands."""
    if not data:
        return
    written = os.write(fd, data)
    try:
        if written != len(data):
            raise OSError(errno.ENOSPC, "short write")
        if sync:
            os.fdatasync(fd)
    except OSError:
        # A full disk can take half a line. Cut it off again, so that the next one starts where a line starts.
        os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise


def last_break(fd: int, end: int) -> int:
    """Where the last line that ends before `end` ends: just behind its line break; 0 if there is none."""
    while end > 0:
        start = max(0, end - (1 << 16))
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Force the names of a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
