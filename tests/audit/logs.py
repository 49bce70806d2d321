"""A state folder with a log of many files and its checkpoints, made by the product's own writers."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.audit import files, keeper, key
from proxy.audit.chained import ChainedLog
from proxy.audit.event import Event
from proxy.audit.sink import encode
from proxy.audit.verify import Report, verify_folder
from proxy.state import StateDir, open_state
from tests.review.events import event

SMALL = files.Options(max_bytes=4500, max_age=math.inf)  # five events a file
_SIZE = 1000


def numbered(first: int, count: int) -> list[Event]:
    """Events whose lines are equally long."""
    made = [
        event(id=f"{number:026}", url=f"https://a.example/{number}", detail="")
        for number in range(first, first + count)
    ]
    return [{**each, "detail": "x" * (_SIZE - len(encode(each)))} for each in made]


@dataclass
class Logs:
    """`write` appends events, `sign` makes a checkpoint, `verify` says what is wrong."""

    state: StateDir

    @classmethod
    def at(cls, folder: Path) -> "Logs":
        made = cls(open_state(folder))
        made.folder.mkdir(mode=0o700, exist_ok=True)
        key.load_or_create(made.state)
        return made

    @property
    def folder(self) -> Path:
        return self.state.audit

    def write(self, count: int, log: str = "worker-0", *, first: int = 1, options: files.Options = SMALL) -> None:
        chained = ChainedLog(self.folder, log, options)
        for each in numbered(first, count):
            chained.write(encode(each))
        chained.close()

    def sign(self) -> None:
        assert keeper.sign(self.folder, key.load(self.state), "checkpoint")

    def verify(self, *, keys: Sequence[str] = (), pruned: bool = False) -> Report:
        return verify_folder(self.folder, keys or [key.public_hex(key.load(self.state))], pruned=pruned)

    def closed(self, log: str = "worker-0") -> list[Path]:
        return sorted(self.folder.glob(f"{log}.0*"))


def full_log(folder: Path) -> Logs:
    """Two workers: `worker-0` with 22 events in five files of 5, `worker-1` with 5; three checkpoints, all signed."""
    logs = Logs.at(folder)
    logs.write(10)
    logs.sign()
    logs.write(5, "worker-1")
    logs.write(7, first=11)
    logs.sign()
    keeper.compress(logs.folder)
    logs.write(5, first=18)
    logs.sign()
    return logs


def events_in(file: Path) -> list[Event]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]
