"""The watchdog: whether a worker still turns. One that does not is ended, so that nobody waits for it.

A worker beats, its supervisor looks, and neither can make the other wait: between them is one byte of shared memory.
"""

import asyncio
import mmap
import time
from dataclasses import dataclass, field

from proxy import limits
from proxy.watch import POLL_TIME

START_TIME = 60.0
"""Seconds for a worker to accept, and to begin to beat."""

_BEAT_TIME = 1.0  # seconds
# What one look can add to a silence: when a look comes later, it was the supervisor or the machine that stood still.
_LONGEST_LOOK = 2 * POLL_TIME


class Pulse:
    """A count of beats in memory that is shared with a process forked later: 0 before the first, then 1 to 255."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    @property
    def count(self) -> int:
        return self._memory[0]

    def beat(self) -> None:
        self._memory[0] = self.count % 255 + 1


async def beat(pulse: Pulse) -> None:
    """Beat for ever, as long as the event loop turns."""
    while True:
        pulse.beat()
        await asyncio.sleep(_BEAT_TIME)


@dataclass(slots=True)
class Watchdog:
    """The watchdog of one worker, from its fork on. Times are seconds of `time.monotonic`."""

    pulse: Pulse = field(default_factory=Pulse)
    looked: float = field(default_factory=time.monotonic)
    seen: int = 0
    silent: float = 0.0

    def hangs(self, now: float) -> bool:
        """Look: whether the worker has been silent for too long. One that has not begun to beat gets `START_TIME`."""
        count, passed = self.pulse.count, now - self.looked
        self.silent = 0.0 if count != self.seen else self.silent + min(passed, _LONGEST_LOOK)
        self.looked, self.seen = now, count
        return self.silent > (limits.HANG_TIME if count else START_TIME)
