"""One log held against its own chain and against what checkpoints say of it. Names the first line that is wrong."""

import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO

from proxy.audit.chain import LINK_SIZE, TORN, Head, Link, genesis, holds, link_of
from proxy.audit.pieces import Long, Piece, lines
from proxy.errors import Problem

STEP = 50_000
_LINK = b',"chain":"'
_TORN = b'{"v":1,"type":"%s",' % TORN.encode()
_STRANGE = "not a line of the chain"


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """What a signed checkpoint says of a log: where it stood. `where` is the checkpoint's place, `time` its time."""

    seq: int
    value: bytes
    where: str
    time: str


@dataclass
class ChainReport:
    """What was found of one log. `lines` are those that hold; `first` and `last` their numbers; up to `vouched` a
    checkpoint vouches for them. `uncovered` lines are of a time before the chain; `torn` names half lines that a writer
    left when it was killed, and that its successor owned up to; `unfinished` one that ends the log.
    """

    log: str
    files: int = 0
    lines: int = 0
    first: int = 0
    last: int = 0
    vouched: int = 0
    uncovered: int = 0
    torn: list[str] = field(default_factory=list)
    unfinished: str = ""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Odd:
    """A line without a link: half a line, perhaps. `old` if it is of a time before the chain."""

    where: str
    size: int
    digest: str
    old: bool


class ChainCheck:
    """Checks the files of one log, in order. `pruned`: the oldest may be gone. `told` hears of every `STEP` lines."""

    def __init__(
        self, log: str, anchors: Sequence[Anchor], *, pruned: bool = False, told: Callable[[int], None] | None = None
    ) -> None:
        self.report = ChainReport(log)
        self._anchors = sorted(set(anchors))
        self._next = 0  # of the anchors, the first that no line was compared with
        self._pruned, self._told = pruned, told
        self._head: Head | None = genesis(log)  # None after something that is wrong, until a file says where it begins
        self._odd: _Odd | None = None
        self._line = 0
        self._place = ""

    def run(self, files: Sequence[Piece]) -> ChainReport:
        for piece in files:
            self.report.files += 1
            self._line = 0
            try:
                with closing(piece.open()) as stream:
                    self._read(piece, stream)
            except (OSError, EOFError, zlib.error) as error:
                why = (error.strerror if isinstance(error, OSError) else None) or "damaged compression"
                self._wrong(f"{piece.name}:{self._line + 1}", f"the rest cannot be read: {why.lower()}")
            self._blame_odd()
            self._place = f"{piece.name}:{max(1, self._line)}"
        self._finish()
        return self.report

    def _read(self, piece: Piece, stream: BinaryIO) -> None:
        for line in lines(stream):
            self._line += 1
            head = self._head
            if (
                head is not None
                and isinstance(line, bytes)
                and line[-LINK_SIZE : 10 - LINK_SIZE] == _LINK
                and (value := sha256(head.value + line[:-LINK_SIZE]).hexdigest().encode()) == line[10 - LINK_SIZE : -3]
                and line.endswith(b',"seq":%d' % (head.seq + 1), 0, -LINK_SIZE)
            ):
                self._holds(piece, line, Head(head.seq + 1, value))
            elif not self._explain(piece, line):
                return

    def _holds(self, piece: Piece, line: bytes, head: Head) -> None:
        report = self.report
        self._head = head
        report.lines += 1
        report.first = report.first or head.seq
        report.last = head.seq
        if self._odd is not None or line.startswith(_TORN):
            self._own_up(piece, line)
        if self._next < len(self._anchors) and self._anchors[self._next].seq <= head.seq:
            self._compare(head, f"{piece.name}:{self._line}")
        if self._told is not None and report.lines % STEP == 0:
            self._told(STEP)

    def _own_up(self, piece: Piece, line: bytes) -> None:
        """A line that stands for a half line must do so for the very one before it, and no other may be there."""
        record = json.loads(line) if line.startswith(_TORN) else {}
        odd = self._odd
        if odd is not None and (odd.size, odd.digest) == (record.get("bytes"), record.get("sha256")):
            self.report.torn.append(odd.where)
            self._odd = None
            return
        self._blame_odd(lost=False)
        if record:
            self._wrong(f"{piece.name}:{self._line}", "the half line that it tells of is not before it", lost=False)

    def _blame_odd(self, *, lost: bool = True) -> bool:
        odd, self._odd = self._odd, None
        if odd is None or odd.old:
            return False
        self._wrong(odd.where, _STRANGE, lost=lost)
        return True

    # --- what does not follow ---

    def _explain(self, piece: Piece, line: bytes | Long) -> bool:
        """Say what a line is that does not follow from the one before it; whether to read on in this file."""
        where = f"{piece.name}:{self._line}"
        ended = line.ended if isinstance(line, Long) else line.endswith(b"\n")
        if not ended and piece.current:
            self.report.unfinished = where
            return False
        link = None if isinstance(line, Long) or not ended else link_of(line)
        if link is None or isinstance(line, Long):
            return self._without_link(where, line)
        if self._blame_odd():
            return False
        if link.prev is not None and self._line == 1 and holds(line, link.prev):
            self._begins(piece, line, link, Head(link.seq - 1, link.prev))
            return True
        self._wrong(where, self._why(link))
        return False

    def _without_link(self, where: str, line: bytes | Long) -> bool:
        if self._head is None or self._blame_odd():
            return False
        if isinstance(line, bytes):
            text = line.removesuffix(b"\n")
            line = Long(len(text), sha256(text).hexdigest(), text is not line)
        old = not self.report.lines
        self._odd = _Odd(where, line.size, line.digest, old)
        self.report.uncovered += old
        return True

    def _begins(self, piece: Piece, line: bytes, link: Link, before: Head) -> None:
        """Go on with a file that follows something else than what was read before it."""
        where, head = f"{piece.name}:1", self._head
        if head is not None:
            if link.seq <= head.seq:
                self._wrong(where, f"line {link.seq} stands where line {head.seq + 1} belongs")
            elif link.seq == head.seq + 1:
                self._wrong(where, f"it follows another line {head.seq} than the one that is there")
            elif head.seq or not self._pruned:
                self._wrong(where, f"lines {head.seq + 1} to {before.seq} are missing: a file before it is gone")
        while self._next < len(self._anchors) and self._anchors[self._next].seq < before.seq:
            self._next += 1
        self._compare(before, where)
        self._holds(piece, line, Head(link.seq, link.value))

    def _why(self, link: Link) -> str:
        if self._head is None:
            return "what it follows is unknown, so nothing holds from here"
        expected = self._head.seq + 1
        if link.seq > expected:
            return f"lines {expected} to {link.seq - 1} are missing before it"
        if link.seq < expected:
            return f"line {link.seq} stands where line {expected} belongs"
        return "changed: it does not follow from the line before it"

    # --- checkpoints ---

    def _compare(self, head: Head, where: str) -> None:
        """Hold a line against the checkpoints that name its number."""
        while self._next < len(self._anchors) and (anchor := self._anchors[self._next]).seq <= head.seq:
            self._next += 1
            if anchor.seq == head.seq and anchor.value == head.value:
                self.report.vouched = head.seq
            elif anchor.seq == head.seq:
                what = f"rewritten: not the line {head.seq} that was signed at {anchor.time} ({anchor.where})"
                self._wrong(where, what, lost=False)

    def _finish(self) -> None:
        report, rest = self.report, self._anchors[self._next :]
        if rest and not report.files:
            self._wrong(rest[-1].where, f"no file of {report.log} is there, and its line {rest[-1].seq} was signed")
        elif rest and self._head is not None:
            signed = f"line {rest[-1].seq} was signed at {rest[-1].time} ({rest[-1].where})"
            self._wrong(self._place, f"cut off: it ends with line {report.last}, and {signed}")
        if report.first > 1 and report.vouched < report.first - 1 and not report.problems:
            self._wrong(self._place, f"no checkpoint vouches for a beginning with line {report.first}")

    def _wrong(self, where: str, what: str, *, lost: bool = True) -> None:
        if lost:
            self._head = None
        self.report.problems.append(Problem(what, where=where))
