"""Verifying beside those who write, close, compress and sign: they act between any two things that a reader does.

One process and no clock: what happens, and when, follows from the seed. A listing gives what POSIX allows, which is
any order, and of names that come or go meanwhile some or none.
"""

import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import files, keeper, pieces
from proxy.audit.chained import ChainedLog
from proxy.audit.sink import encode
from tests.audit.logs import Logs, numbered

TWO_A_FILE = files.Options(max_bytes=1500, max_age=math.inf)
EVENTS = [encode(each) for each in numbered(1, 200)]
ACTS = 8  # at most, while one verification runs


class Others:
    """Who else is at work on a log: a writer, and a keeper that compresses and signs."""

    def __init__(self, logs: Logs, seed: int) -> None:
        self.logs, self.random = logs, random.Random(seed)
        self.log: ChainedLog | None = None
        self.events = iter(EVENTS)
        self.left = 0

    def act(self) -> None:
        """Do something, perhaps; nothing happens while it happens."""
        if not self.left or self.random.random() < 0.6:
            return
        left, self.left = self.left - 1, 0
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            self.random.choices((self.write, self.compress, self.sign, self.fail_to_close), (14, 4, 2, 3))[0]()
        self.left = left

    def write(self) -> None:
        if self.log is None:
            self.log = ChainedLog(self.logs.folder, "worker-0", TWO_A_FILE)
        for line, _ in zip(self.events, range(self.random.choice((1, 2, 3, 5))), strict=False):
            self.log.write(line)

    def compress(self) -> None:
        keeper.compress(self.logs.folder)

    def sign(self) -> None:
        self.logs.sign()

    def fail_to_close(self) -> None:
        """A file gets its second name, and its writer dies: the next one takes that back."""
        live = self.logs.folder / "worker-0.jsonl"
        if self.log is not None and live.stat().st_size:
            self.log.close()
            self.log = None
            (self.logs.folder / f"worker-0.{self.first():012}.jsonl").hardlink_to(live)

    def first(self) -> int:
        with (self.logs.folder / "worker-0.jsonl").open("rb") as file:
            return pieces.first_number(file.fileno())


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)  # the disk is not what is tested
    return Logs.at(tmp_path / "state")


@pytest.mark.parametrize("seed", range(80))
def test_whatever_happens_meanwhile_an_intact_log_is_intact(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    others = Others(logs, seed)
    really_list, really_open, really_unpack = Path.iterdir, Path.open, pieces.gzip.open

    def iterdir(folder: Path) -> Iterator[Path]:
        names = [*really_list(folder)]
        others.random.shuffle(names)
        for name in names:
            others.act()
            if name.exists():
                yield name
        others.act()

    def opened(real: Any) -> Any:
        def opening(*arguments: Any, **named: Any) -> Any:
            others.act()
            stream = real(*arguments, **named)
            others.act()
            return stream

        return opening

    logs.sign()
    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "open", opened(really_open))
    monkeypatch.setattr(pieces.gzip, "open", opened(really_unpack))
    for _ in range(4):
        others.left = ACTS
        report = logs.verify()
        others.left = 0
        assert report.verdict == "intact", report.problems
    if others.log is not None:
        others.log.close()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_meanwhile_a_hole_is_found(logs: Logs, seed: int) -> None:
    others = Others(logs, seed)
    for _ in range(4):
        others.write()
    others.sign()
    gone = others.random.choice(logs.closed())
    gone.unlink()
    for _ in range(4):
        others.left = ACTS
        others.act()
        others.left = 0
        report = logs.verify()
        assert report.verdict == "not intact"
        assert "missing" in report.problems[0].message
    if others.log is not None:
        others.log.close()
