"""What the record says of one sandbox lately, read back from the ends of the files of all workers, in bounds."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from proxy import limits
from proxy.audit.event import Event
from proxy.audit.segments import PACKED, segments


@dataclass(frozen=True, slots=True)
class Recalled:
    """Lines of the record as values, the newest first. `whole` is false if there may be more that were not read."""

    events: tuple[Event, ...]
    whole: bool


def recall(folder: Path, kind: str, sandbox: str, policy: str, since: datetime, **known: str) -> Recalled:
    """The lines of the logs `kind-N` about this very sandbox under this very policy that are not older than `since`.

    `known` are further fields that they must have. What is damaged or cannot be read is left out, and `whole` is false.
    """
    wanted = {"sandbox": sandbox, "policy": policy, **known}
    paths = _newest(folder, kind)
    whole = bool(paths)
    needles = [f'"{key}":{json.dumps(value)}'.encode() for key, value in wanted.items()]
    found: list[bytes] = []
    for path, cut in paths:
        data, all_of_it = _end_of(path, limits.MAX_RECALLED // len(paths), since, cut=cut)
        whole = whole and all_of_it
        found += islice(_holding(data, needles), limits.MAX_RECALLED_LINES + 1)
    # A line begins with its version, its type if it has one, and its id, which sorts by time.
    found.sort(reverse=True)
    whole = whole and len(found) <= limits.MAX_RECALLED_LINES
    return Recalled(tuple(_matching(found[: limits.MAX_RECALLED_LINES], wanted, since)), whole)


def _matching(lines: Iterable[bytes], wanted: dict[str, str], since: datetime) -> Iterator[Event]:
    for line in lines:
        event = _read(line)
        # The search for bytes only saves work; what a line says is read from the line.
        if event is not None and all(event.get(key) == value for key, value in wanted.items()):
            if _not_before(event, since):
                yield event


def _newest(folder: Path, kind: str) -> list[tuple[Path, bool]]:
    """Of each log the file that is written and the one that was closed last; with each, if older ones are left out."""
    by_log: dict[str, list[Path]] = {}
    try:
        for each in segments(folder):
            if each.log.startswith(f"{kind}-"):
                by_log.setdefault(each.log, []).append(each.path)
    except OSError:
        return []
    found: list[tuple[Path, bool]] = []
    for paths in by_log.values():
        plain = [path for path in paths[-2:] if path.suffix != PACKED]
        found += [(path, path is plain[0] and path is not paths[0]) for path in plain]
    return found


def _end_of(path: Path, size: int, since: datetime, *, cut: bool) -> tuple[bytes, bool]:
    """The whole lines in the last `size` bytes of a file, and whether no older ones count; `cut` if there are such."""
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - size)
            file.seek(start)
            data = file.read(size)
    except OSError:
        return b"", False
    if start:
        data = data.partition(b"\n")[2]
    if not start and not cut:
        return data, True
    oldest = _read(data.partition(b"\n")[0])
    return data, oldest is not None and not _not_before(oldest, since)


def _holding(data: bytes, needles: list[bytes]) -> Iterator[bytes]:
    """The lines that hold every needle, the last one first. Looks for the first needle, so other lines cost little."""
    end = len(data)
    while (at := data.rfind(needles[0], 0, end)) >= 0:
        end = data.rfind(b"\n", 0, at) + 1
        stop = data.find(b"\n", at)
        line = data[end:] if stop < 0 else data[end:stop]
        if all(needle in line for needle in needles):
            yield line


def _read(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _not_before(event: Event, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(event.get("time"))) >= since
    except (ValueError, TypeError):
        return False
