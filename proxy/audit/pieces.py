"""The files of logs as streams of lines, also while they are written, closed and compressed by others."""

import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from proxy.audit.chain import MAX_LINE, link_of
from proxy.audit.segments import Segment, order, packed, segments
from proxy.audit.tail import first_line

_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a log. One that is written is `held` open, so it stays the same file if it is closed meanwhile."""

    segment: Segment
    held: BinaryIO | None = None

    @property
    def name(self) -> str:
        return str(self.segment.path)

    @property
    def current(self) -> bool:
        """Whether somebody may still write it."""
        return self.segment.first is None

    def open(self) -> BinaryIO:
        """Its lines. Raises `OSError`."""
        if self.held is not None:
            return self.held
        if not self.segment.packed:
            with suppress(FileNotFoundError):
                return self.segment.path.open("rb", _BUFFER)
        # It was compressed since, or before.
        path = self.segment.path if self.segment.packed else packed(self.segment.path)
        return io.BufferedReader(gzip.open(path), _BUFFER)


@dataclass(frozen=True, slots=True)
class Long:
    """A line that is too long to be one of ours: its size and SHA-256, without the line break, if it has one."""

    size: int
    digest: str
    ended: bool


def pieces(folder: Path) -> list[Piece]:
    """The files of every log in a folder as they are now, in the order of their lines. Raises `OSError`."""
    held = {}
    for each in segments(folder):
        if each.first is None:
            held[each.log] = each.path.open("rb", _BUFFER)
    # A file that was closed in between is listed by its first line; it is read there, and not twice.
    there = segments(folder)
    closed = {(each.log, each.first) for each in there}
    found = []
    for each in there:
        stream = held.pop(each.log, None) if each.first is None else None
        if stream is not None and (each.log, _first(stream)) in closed:
            stream.close()
        else:
            found.append(Piece(each, stream))
    return found


def _first(stream: BinaryIO) -> int:
    """The number of the first line of a file, as the name of a closed file says it."""
    link = link_of(first_line(stream.fileno()) + b"\n")
    return 0 if link is None else link.seq


def named(chosen: Iterable[Segment]) -> list[Piece]:
    """Files that were named one by one, in the order of their lines."""
    return [Piece(each) for each in sorted(chosen, key=order)]


def lines(stream: BinaryIO) -> Iterator[bytes | Long]:
    """The lines of a stream, each with its line break; only the last one can be without."""
    while line := stream.readline(MAX_LINE + 1):
        yield line if len(line) <= MAX_LINE or line.endswith(b"\n") else _long(line, stream)


def _long(begin: bytes, stream: BinaryIO) -> Long:
    digest, size, ended = sha256(begin), len(begin), False
    while not ended and (piece := stream.readline(_BUFFER)):
        ended = piece.endswith(b"\n")
        text = piece.removesuffix(b"\n")
        digest.update(text)
        size += len(text)
    return Long(size, digest.hexdigest(), ended)
