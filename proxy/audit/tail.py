"""Where a log ends: its last link, and what a killed writer left half written. Reads a bounded piece of the end."""

import gzip
import json
import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from proxy.audit import files
from proxy.audit.chain import LINK_SIZE, MAX_LINE, TORN, Head, Link, genesis, holds, link_of, number_in
from proxy.audit.segments import live, packed, segments
from proxy.exchange import new_id

_SEARCHED = 8 * MAX_LINE  # bytes before the end in which the last link is looked for
_CHUNK = 1 << 20
_DIGITS = 32  # more than a number with its key has


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: its last link (None if it has none), its size, and from where on it is a half line."""

    link: Link | None
    size: int
    whole: int

    @property
    def torn(self) -> bool:
        return self.whole < self.size


def tail_of(fd: int) -> Tail:
    """The end of an open file. Raises `OSError`."""
    size = os.fstat(fd).st_size
    whole = files.last_break(fd, size)
    if whole < size <= whole + MAX_LINE:
        rest = os.pread(fd, size - whole, whole) + b"\n"
        before = _last_link(fd, whole)
        link = link_of(rest)
        prev = link and (link.prev or (before and before.value))
        if link is not None and prev and holds(rest, prev):
            return Tail(link, size, size)  # nothing but its line break is missing
        return Tail(before, size, whole)
    return Tail(_last_link(fd, whole), size, whole)


def _last_link(fd: int, end: int) -> Link | None:
    start = max(0, end - _SEARCHED)
    for line in reversed(os.pread(fd, end - start, start).splitlines(keepends=True)):
        if (link := link_of(line)) is not None:
            return link
    return None


def torn_record(fd: int, tail: Tail) -> bytes:
    """The line that owns up to a half line: how long it is, and what it is, so that nothing else can pass for it."""
    digest = sha256()
    for start in range(tail.whole, tail.size, _CHUNK):
        digest.update(os.pread(fd, min(_CHUNK, tail.size - start), start))
    record = {
        "v": 1,
        "type": TORN,
        "id": new_id(),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "bytes": tail.size - tail.whole,
        "sha256": digest.hexdigest(),
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def first_number(fd: int) -> int:
    """The number of the first line of an open file that has one, by which the file is named when it is closed.

    Half a line can stand before it, or lines of a time before the chain. 0 if no line has a number.
    """
    start, kept = 0, b""
    while chunk := os.pread(fd, _CHUNK, start):
        if (number := number_in(kept + chunk)) is not None:
            return number
        start, kept = start + len(chunk), chunk[-LINK_SIZE - _DIGITS :]
    return 0


def first_line(fd: int) -> bytes:
    """The first line of an open file, or the beginning of a longer one."""
    return os.pread(fd, MAX_LINE, 0).partition(b"\n")[0]


def head_of(folder: Path, log: str, tail: Tail | None = None) -> Head:
    """Where the chain of a log stands; `tail` is the end of the file that is written, if the caller knows it.

    Raises `OSError`.
    """
    link = (tail or _tail_at(live(folder, log))).link
    if link is None:
        link = _closed_link(folder, log)
    return genesis(log) if link is None else Head(link.seq, link.value)


def _tail_at(path: Path) -> Tail:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Tail(None, 0, 0)
    try:
        return tail_of(fd)
    finally:
        os.close(fd)


def _closed_link(folder: Path, log: str) -> Link | None:
    """The last link of what was closed last."""
    there = [each for each in segments(folder) if each.log == log and each.first is not None]
    if not there:
        return None
    path = there[-1].path
    if not there[-1].packed:
        if (link := _tail_at(path).link) is not None or not packed(path).exists():
            return link
        path = packed(path)  # it was compressed since it was listed
    last = None
    try:
        with gzip.open(path) as lines:
            while line := lines.readline(MAX_LINE):
                last = link_of(line) or last
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(5, f"{path.name} is damaged") from error
    return last
