"""A loop for load: generators that wait for a socket or a time.

It takes less CPU for each turn than asyncio, and OpenSSL reads the sockets itself, so load is seldom the bottleneck.
"""

import heapq
import select
import time
from collections import deque
from collections.abc import Generator
from itertools import count
from typing import Any

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
# What a task waits for: a file descriptor and READ or WRITE; or, as a float, a time on the monotonic clock.
type Wait = tuple[int, int] | float
type Task[T] = Generator[Wait, None, T]


class Loop:
    """Runs tasks until none is left, or one raises. A socket belongs to one task at a time."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._ready: deque[Task[Any]] = deque()
        self._waiting: dict[int, Task[Any]] = {}
        self._masks: dict[int, int] = {}
        self._times: list[tuple[float, int, Task[Any]]] = []
        self._numbers = count()
        self.view = memoryview(bytearray(64 * 1024))  # what every connection reads into

    def spawn(self, task: Task[Any]) -> None:
        """Have it run from the next turn on."""
        self._ready.append(task)

    def forget(self, number: int) -> None:
        """A descriptor is about to be closed."""
        if self._masks.pop(number, 0):
            self._poll.unregister(number)

    def run(self) -> None:
        """Run everything that was spawned, and what that spawns."""
        while self._ready or self._waiting or self._times:
            while self._ready:
                self._step(self._ready.popleft())
            self._wait()

    def _step(self, task: Task[Any]) -> None:
        try:
            wait = next(task)
        except StopIteration:
            return
        if isinstance(wait, float):
            heapq.heappush(self._times, (wait, next(self._numbers), task))
            return
        number, mask = wait
        self._waiting[number] = task
        known = self._masks.get(number)
        if known is None:
            self._poll.register(number, mask)
        elif known != mask:
            self._poll.modify(number, mask)
        self._masks[number] = mask

    def _wait(self) -> None:
        if not self._waiting and not self._times:
            return
        if self._times:
            # epoll counts in milliseconds; the latencies that are measured are shorter.
            select.select([self._poll.fileno()], [], [], max(0.0, self._times[0][0] - time.monotonic()))
            timeout = 0.0
        else:
            timeout = -1.0
        for number, _ in self._poll.poll(timeout):
            task = self._waiting.pop(number, None)
            if task is None:
                # Nobody waits for it yet, so nobody is to be woken by it again.
                self.forget(number)
            else:
                self._ready.append(task)
        now = time.monotonic()
        while self._times and self._times[0][0] <= now:
            self._ready.append(heapq.heappop(self._times)[2])
