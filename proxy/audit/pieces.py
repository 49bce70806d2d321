"""The files of logs as streams of lines, also while they are written, closed and compressed by others."""

import gzip
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from proxy.audit.chain import MAX_LINE
from proxy.audit.segments import Segment, live, order, packed, segments
from proxy.audit.tail import first_number

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
    """The files of every log in a folder as they are now, in the order of their lines. Raises `OSError`.

    Each line that was there at the call is in one of them, once, whatever is closed and compressed meanwhile.
    """
    held: dict[str, BinaryIO | None] = {}
    there = segments(folder)
    while new := {each.log for each in there} - held.keys():
        held |= {log: _hold(live(folder, log)) for log in new}
        there = segments(folder)  # what was closed before is listed now
    return [
        piece
        for log, stream in sorted(held.items(), key=itemgetter(0))
        for piece in _pieces_of(
            live(folder, log), stream, [each for each in there if each.log == log and each.first is not None]
        )
    ]


def _pieces_of(path: Path, stream: BinaryIO | None, closed: list[Segment]) -> list[Piece]:
    """The files of one log. `stream` is what was at `path` before the list of closed files was made."""
    if stream is None:
        return [Piece(each) for each in closed]
    first = first_number(stream.fileno())
    twin = next((each for each in closed if each.first == first), None)
    if not _is_at(path, stream):
        if twin is not None:
            stream.close()  # it was closed before the list was made; it is read there, and not twice
            return [Piece(each) for each in closed]
    elif twin is not None and (_is_at(twin.path, stream) or not (twin.path.exists() or packed(twin.path).exists())):
        closed.remove(twin)  # a name that it got and lost: a full disk kept it open, or its writer died over it
    return [*(Piece(each) for each in closed), Piece(Segment(path, path.stem, None, packed=False), stream)]


def _hold(path: Path) -> BinaryIO | None:
    with suppress(FileNotFoundError):
        return path.open("rb", _BUFFER)
    return None


def _is_at(path: Path, stream: BinaryIO) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    return False


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
