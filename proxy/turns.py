"""How much of a peer is handled at once: no more than can be without keeping the others waiting. For every engine.

Small frames, chunks and messages take as long in a small read as others in a large one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

LONG = 0.01
"""Seconds after which whoever took them has to wait as long again."""

SLICE = 0.001
"""Seconds that the connections of one sandbox may take together before all others have their turn."""

_SLOW = 2 * SLICE
_FIRST = 16 * 1024
_LEAST = 1024
MOST = 64 * 1024
"""Bytes of one peer that are handled at once, at most."""


class Portion:
    """How many bytes of one peer may be handled next: `size`.

    It begins with little, as a client that had its first read for long could leave and come again.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = _FIRST

    def took(self, seconds: float) -> None:
        """Note how long it took to handle what was read last."""
        if seconds > _SLOW:
            self.size = max(_LEAST, self.size // 4)
        elif seconds < _SLOW / 4:
            self.size = min(MOST, self.size * 2)


class Share:
    """The time of one sandbox: what its connections take of the loop, however many they are.

    They have it in slices. When one is used up, what else they have to do waits, in the order in which it came, until
    the loop has looked at all other connections.
    """

    __slots__ = ("__weakref__", "_next", "_since", "_spent", "_waiting")

    def __init__(self) -> None:
        self._spent = 0.0  # of this slice
        self._since: float | None = None  # when the step began that runs
        self._waiting: deque[Callable[[], None]] = deque()
        self._next: asyncio.Handle | None = None

    @property
    def over(self) -> bool:
        """Whether the step that runs should leave the rest of its work for `later`."""
        now = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + now >= SLICE

    def now(self, step: Callable[[], None]) -> bool:
        """Take a step, if there is time left for it; whether there was."""
        if self._spent >= SLICE:
            return False
        self._run(step)
        return True

    def later(self, step: Callable[[], None]) -> None:
        """Take a step when the others had their turn."""
        self._waiting.append(step)
        self._call(0.0)

    def _run(self, step: Callable[[], None]) -> None:
        if self._since is not None:
            step()  # part of the one that runs
            return
        self._since = started = time.monotonic()
        try:
            step()
        finally:
            self._since = None
            self._spent += time.monotonic() - started
            if self._spent >= SLICE:
                self._call(0.0)

    def _call(self, seconds: float) -> None:
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.call_later(seconds, self._begin) if seconds else loop.call_soon(self._begin)

    def _begin(self) -> None:
        """The others had their turn. What has waited goes on, longest first, a step each; then the loop turns again."""
        self._next = None
        if self._spent > LONG:
            # No step should be as long, and whoever finds one that is could take most of the loop with it.
            spent, self._spent = self._spent, SLICE
            self._call(spent)
            return
        self._spent = 0.0
        for _ in range(len(self._waiting)):
            if self._spent >= SLICE:
                break
            self._run(self._waiting.popleft())
        if self._waiting:
            self._call(0.0)
