"""The end of a log, and what comes: the lines of every file that is written, also over its closing."""

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from proxy.audit.chain import MAX_LINE
from proxy.audit.event import event_of
from proxy.audit.pieces import Piece
from proxy.audit.segments import segments
from proxy.audit.tail import first_number
from proxy.errors import ConfigError
from proxy.exchange import Exchange
from proxy.policy.rules import Policy
from proxy.review.seen import NotAnEvent, read_record
from proxy.state import why

TICK = 0.25  # seconds between two looks
_TAIL = 1 << 20  # bytes from the end of a file, in which its last events are looked for

type Event = dict[str, Any]


def matcher(filters: Sequence[str]) -> Callable[[Event], bool]:
    """Whether an event has what all of `field=pattern` or `field!=pattern` say. Raises `ConfigError`."""
    fields = set(event_of(Exchange(sandbox="", policy=Policy())))
    wanted = []
    for text in filters:
        name, sign, pattern = text.partition("=")
        differs = name.endswith("!")
        name = name.removesuffix("!").strip()
        if not sign or name not in fields:
            hint = "write FIELD=PATTERN or FIELD!=PATTERN, as verdict=deny or host=*.example.com"
            raise ConfigError(f"not a filter: {text[:60]!r}", hint)
        wanted.append((name, pattern.strip(), differs))
    return lambda event: all(
        fnmatchcase(_text(event.get(name)), pattern) != differs for name, pattern, differs in wanted
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Tail:
    """The logs of some folders. `skipped` counts lines that are no events."""

    folders: Sequence[Path]
    skipped: int = field(default=0, init=False)
    _open: dict[Path, BinaryIO] = field(default_factory=dict, init=False)

    def last(self, number: int, takes: Callable[[Event], bool]) -> list[Event]:
        """The last events, the newest at the end; from here on `more` has what comes."""
        found: list[Event] = []
        for path in self._live():
            if (stream := self._opened(path)) is None:
                continue
            end = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, end - _TAIL))
            if end > _TAIL:
                stream.readline()
            found += [event for event in self._read(stream) if takes(event)]
        return sorted(found, key=lambda event: event["time"])[-number:] if number else []

    def more(self) -> Iterator[Event]:
        """What was written since."""
        for path in self._live():
            before = self._open.get(path)
            if (stream := self._opened(path)) is None:
                continue  # it was closed just now; the next one will be there
            if before is not None and before is not stream:
                with before:
                    yield from self._read(before)
                    between = _between(path, before, stream)
                yield from self._whole(between)
            yield from self._read(stream)

    def follow(self, takes: Callable[[Event], bool]) -> Iterator[Event]:
        """Events as they come, without end."""
        while True:
            yield from (event for event in self.more() if takes(event))
            time.sleep(TICK)

    def _live(self) -> list[Path]:
        return [
            path
            for folder in self.folders
            for path in sorted(folder.glob("worker-*.jsonl"))
            if path.name.count(".") == 1
        ]

    def _opened(self, path: Path) -> BinaryIO | None:
        """What is at the path now; None if nothing is."""
        held = self._open.get(path)
        try:
            if held is None or not os.path.samestat(os.fstat(held.fileno()), path.stat()):
                self._open[path] = path.open("rb")
            return self._open[path]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read the log: {why(error)}", "check who may read it", str(path)) from error

    def _whole(self, pieces: Sequence[Piece]) -> Iterator[Event]:
        for piece in pieces:
            try:
                with piece.open() as stream:
                    yield from self._read(stream)
            except (OSError, EOFError, zlib.error):
                self.skipped += 1  # it was deleted, or is damaged

    def _read(self, stream: BinaryIO) -> Iterator[Event]:
        while True:
            place = stream.tell()
            line = stream.readline(MAX_LINE)
            if not line.endswith(b"\n") and len(line) < MAX_LINE:
                stream.seek(place)  # it is being written
                return
            try:
                event = read_record(line)
            except NotAnEvent:
                self.skipped += 1
                continue
            if event is not None:
                yield event


def _between(path: Path, before: BinaryIO, after: BinaryIO) -> list[Piece]:
    """The files of a log that were closed between two that stood at its name; none for a log without a chain."""
    first, end = first_number(before.fileno()), first_number(after.fileno())
    if not first:
        return []
    return [
        Piece(each)
        for each in segments(path.parent)
        if each.log == path.stem and each.first is not None and first < each.first < (end or math.inf)
    ]
