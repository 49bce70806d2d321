"""The names of the files that make up a log: the one that is written, and those that were closed.

`worker-0.jsonl` is written. What was closed is `worker-0.000000004711.jsonl`, by the number of its first line, and soon
`worker-0.000000004711.jsonl.gz`. Numbers only grow, whatever the clock does, so names are unique and sort in order.
"""

import re
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".jsonl"
PACKED = ".gz"
_NAME = re.compile(r"((?:worker|access)-\d{1,9}|policy)(?:\.(\d{12,18}))?\.jsonl(\.gz)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log. `first` is the number of its first line; None if it is still written."""

    path: Path
    log: str
    first: int | None
    packed: bool


def live(folder: Path, log: str) -> Path:
    """The file that is written."""
    return folder / f"{log}{SUFFIX}"


def closed(folder: Path, log: str, first: int) -> Path:
    """The file that one becomes which begins with line `first`."""
    return folder / f"{log}.{first:012}{SUFFIX}"


def packed(path: Path) -> Path:
    """The same file, compressed."""
    return path.with_name(path.name + PACKED)


def segment_of(path: Path) -> Segment | None:
    """What the name of a file says; None if it is no name of a log."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return None
    return Segment(path, found[1], None if found[2] is None else int(found[2]), bool(found[3]))


def segments(folder: Path) -> list[Segment]:
    """Every file of a log in a folder, in the order in which lines were written, by log.

    A file that is being compressed is there twice for a moment; then the plain one counts.
    """
    found: dict[tuple[str, int | None], Segment] = {}
    while True:
        # A listing can miss a file whose name changes meanwhile, which happens once to each: the next one has it.
        listed = _listed(folder)
        complete = listed.keys() <= found.keys()
        found |= listed
        if complete:
            return sorted(found.values(), key=order)


def order(segment: Segment) -> tuple[str, bool, int]:
    """Sorts the files of a log in the order of their lines."""
    return segment.log, segment.first is None, segment.first or 0


def _listed(folder: Path) -> dict[tuple[str, int | None], Segment]:
    listed: dict[tuple[str, int | None], Segment] = {}
    for path in folder.iterdir():
        segment = segment_of(path)
        if segment is not None and not (segment.packed and (segment.log, segment.first) in listed):
            listed[segment.log, segment.first] = segment
    return listed
