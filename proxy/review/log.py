"""Audit logs as one stream of events, in bounded memory. What cannot be read is counted, named and left out."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

from proxy import limits
from proxy.audit.chain import MAX_LINE
from proxy.audit.pieces import Piece
from proxy.review.log_files import STDIN, check, files_of
from proxy.review.seen import NotAnEvent, Seen, read_event

MAX_NAMED = 5  # damaged lines that are named; all are counted
MAX_LONG = 100_000  # ids of long exchanges that are remembered, to count each once
_STEP = 10_000
_GZIP = b"\x1f\x8b"


@dataclass
class Log:
    """The events of several logs. Iterate once; then the counts are those of everything that was read.

    `names` are files, folders and `-` for `stdin`, as `proxy.review.log_files` reads them; gzip is recognised by its
    content. `told` is called with the number of lines, now and then. Raises `ConfigError` for what is not there.
    """

    names: Sequence[str]
    stdin: BinaryIO | None = None
    told: Callable[[int], None] | None = None
    lines: int = field(default=0, init=False)
    events: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    understood: int = field(default=0, init=False)  # lines that are events or other records
    files: list[str] = field(default_factory=list, init=False)
    named: list[str] = field(default_factory=list, init=False)  # `file:line: why`, the first of what was skipped
    joined: int = field(default=0, init=False)  # first events of long exchanges whose last one was counted
    unsure: bool = field(default=False, init=False)  # more long exchanges than are remembered

    def __post_init__(self) -> None:
        check(self.names)

    def __iter__(self) -> Iterator[Seen]:
        waiting: dict[str, Seen] = {}
        ended: set[str] = set()
        for event in self.each(read_event):
            if event.end == "open":
                if event.id in ended or event.id in waiting:
                    self.joined += 1
                elif len(waiting) >= MAX_LONG:
                    self.unsure = True
                    yield self._count(event)
                else:
                    waiting[event.id] = event
                continue
            if waiting.pop(event.id, None) is not None:
                self.joined += 1
            elif _was_long(event):
                # Its first event may stand in a file that is read later.
                if len(ended) < MAX_LONG:
                    ended.add(event.id)
                else:
                    self.unsure = True
            yield self._count(event)
        for event in waiting.values():
            yield self._count(event)

    def _count(self, event: Seen) -> Seen:
        self.events += 1
        return event

    def each[T](self, read: Callable[[bytes], T | None]) -> Iterator[T]:
        """What `read` makes of each line, unless it raises `NotAnEvent` or returns None; nothing is joined."""
        for name, piece in files_of(self.names):
            self.files.append(name)
            number = 0
            try:
                with closing(self._open(name, piece)) as stream:
                    for number, line in enumerate(_lines(stream), 1):
                        event = self._event(name, number, line, read)
                        if event is not None:
                            yield event
            except (OSError, EOFError, zlib.error) as error:
                why = (error.strerror if isinstance(error, OSError) else None) or "damaged compression"
                self._skip(name, number + 1, f"the rest cannot be read: {why.lower()}")

    def _event[T](self, name: str, number: int, line: bytes | None, read: Callable[[bytes], T | None]) -> T | None:
        self.lines += 1
        if self.told is not None and self.lines % _STEP == 0:
            self.told(self.lines)
        if line is None:
            self._skip(name, number, f"longer than {MAX_LINE} bytes")
            return None
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            return None
        try:
            found = read(line)
        except NotAnEvent as error:
            self._skip(name, number, str(error))
            return None
        self.understood += 1
        return found

    def _skip(self, name: str, number: int, why: str) -> None:
        self.skipped += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(f"{'stdin' if name == STDIN else name}:{number}: {why}")

    def _open(self, name: str, piece: Piece | None) -> BinaryIO:
        if piece is not None:
            return piece.open()
        raw = _Shared(self.stdin or io.BytesIO()) if name == STDIN else io.FileIO(name)
        plain = io.BufferedReader(raw)
        if plain.peek(2)[:2] == _GZIP:
            return io.BufferedReader(gzip.GzipFile(fileobj=plain))
        return plain


class _Shared(io.RawIOBase):
    """A stream that is ours to read but not to close."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _was_long(event: Seen) -> bool:
    return event.duration_ms is None or event.duration_ms >= limits.LONG_TIME * 1000


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a stream; None for one that is too long, which is passed over in pieces."""
    while line := stream.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (piece := stream.readline(MAX_LINE)) and not piece.endswith(b"\n"):
            pass
        yield None
