"""The real proxy with faults that a test arms, and with limits that a test can wait for."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.outgate import Outgate

LAUNCH = Path(__file__).with_name("launch.py")


@dataclass
class Faulty(Outgate):
    """`limits` replaces values of proxy/limits.py in the process that is started. `lane` is that of its clients."""

    lane: str = "fast"
    limits: Mapping[str, float] = field(default_factory=dict)

    def command(self) -> list[str]:
        (self.folder / "limits.json").write_text(json.dumps(dict(self.limits)))
        (self.folder / "lane").write_text(self.lane)
        return [sys.executable, str(LAUNCH), str(self.folder), *super().command()[1:]]

    @contextmanager
    def armed(self, point: str, kind: str) -> Iterator[None]:
        """Break a point as long as the block runs."""
        new = self.folder / "armed.new"
        (self.folder / "hit").unlink(missing_ok=True)
        new.write_text(f"{point}|{kind}")
        new.replace(self.folder / "armed")
        try:
            yield
        finally:
            (self.folder / "armed").unlink()

    def was_hit(self) -> bool:
        return (self.folder / "hit").exists()

    def workers_alive(self) -> list[int]:
        pid = self.ready["pid"]
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def signal_worker(self, number: signal.Signals) -> int:
        """Send a signal to the only worker; returns its process id."""
        (worker,) = self.workers_alive()
        os.kill(worker, number)
        return worker
