"""Accepting: how clients of one port spread over the workers that all listen on it.

The kernel wakes every worker for a client that comes, and the first one that turns takes all that wait. So each tells
the others how many clients it has, and one that has more than another leaves new ones alone for a moment.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable

import structlog

_NOBODY = (1 << 32) - 1  # stands for a worker that accepts none: nobody waits for it
_PAUSE = 0.001  # seconds in which another worker can take a client
_LATE = 4  # clients that are taken behind it in any case: the others may hang, or have ended
_SHORT = 0.1  # seconds until another try, where the system is short of descriptors or memory

log = structlog.get_logger("worker")


class Loads:
    """How many clients each worker has, in memory that is shared with processes forked later.

    A hint and no more: whatever a worker that hangs or died left here, it takes no longer than `_PAUSE` to get over.
    """

    def __init__(self, workers: int = 1) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * workers)).cast("I")
        for number in range(workers):
            self.forget(number)

    def forget(self, number: int) -> None:
        """This worker accepts nobody any more."""
        self._counts[number] = _NOBODY

    def tell(self, number: int, count: int) -> None:
        self._counts[number] = count

    def least(self) -> int:
        """Of all workers that accept."""
        return min(self._counts)


class Load:
    """How many clients this worker has, as it tells the others until it `ends`."""

    def __init__(self, loads: Loads, number: int = 0) -> None:
        self._loads, self._number = loads, number
        self._ended = False

    def tell(self, count: int) -> None:
        if not self._ended:
            self._loads.tell(self._number, count)

    def is_least(self, count: int) -> bool:
        """Tell, and whether no other worker has fewer."""
        self.tell(count)
        return count <= self._loads.least()

    def end(self) -> None:
        self._ended = True
        self._loads.forget(self._number)


class Accepting:
    """Takes clients from a listening socket, which is closed with it. `make` gives each its protocol, `count` says how
    many there are.
    """

    def __init__(
        self, sock: socket.socket, make: Callable[[], asyncio.BaseProtocol], count: Callable[[], int], load: Load
    ) -> None:
        self.sockets = (sock,)
        self._socket, self._make, self._count, self._load = sock, make, count, load
        self._loop = asyncio.get_running_loop()
        self._joining: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        load.tell(count())
        self._loop.add_reader(sock, self._look)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._pause is not None:
            self._pause.cancel()
        self._socket.close()

    def _look(self, late: int = 0) -> None:
        """Take what waits, and `late` of it whatever others have; what is left is theirs for a moment."""
        pause = self._take(late)
        if pause:
            self._loop.remove_reader(self._socket)
            self._pause = self._loop.call_later(pause, self._look, _LATE)
        elif late:
            self._loop.add_reader(self._socket, self._look)

    def _take(self, late: int) -> float:
        """Take clients; the seconds until this may be tried again, 0 if none waits."""
        try:
            while late > 0 or self._load.is_least(self._count() + len(self._joining)):
                late -= 1
                client, _ = self._socket.accept()
                task = self._loop.create_task(self._join(client))
                self._joining.add(task)
                task.add_done_callback(self._joining.discard)
        except (BlockingIOError, ConnectionAbortedError):
            return 0.0
        except OSError as error:
            log.error("clients wait, and cannot be accepted", error=str(error))  # noqa: TRY400 - no bug
            return _SHORT
        return _PAUSE

    async def _join(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:
            client.close()  # it has left
