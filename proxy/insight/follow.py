"""The end of a log, and what comes: the lines of every file that is written, also over its closing."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from proxy.audit.chain import MAX_LINE
from proxy.audit.event import event_of
from proxy.errors import ConfigError
from proxy.exchange import Exchange
from proxy.policy.rules import Policy
from proxy.review.seen import NotAnEvent, read_record

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
            stream = self._opened(path)
            end = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, end - _TAIL))
            if end > _TAIL:
                stream.readline()
            found += [event for event in self._read(stream) if takes(event)]
        return sorted(found, key=lambda event: event["time"])[-number:] if number else []

    def more(self) -> Iterator[Event]:
        """What was written since."""
        for path in self._live():
            if path in self._open and not _same(self._open[path], path):
                with self._open.pop(path) as closed:
                    yield from self._read(closed)
            yield from self._read(self._opened(path))

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

    def _opened(self, path: Path) -> BinaryIO:
        if path not in self._open:
            try:
                self._open[path] = path.open("rb")
            except OSError as error:
                raise ConfigError("cannot read the log", "check who may read it", str(path)) from error
        return self._open[path]

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


def _same(stream: BinaryIO, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return True  # it was closed just now; the next one will be there
    held = os.fstat(stream.fileno())
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
