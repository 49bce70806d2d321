"""Accepting: clients spread over those who accept, and nobody waits for one that does not."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from proxy.engine.accepting import Accepting, Load, Loads

CLIENTS = 64


class Worker:
    """One of those that share a socket, in this process. `taken` are the protocols of its clients."""

    def __init__(self, loads: Loads, number: int, listening: socket.socket) -> None:
        self.taken: list[asyncio.Protocol] = []
        self.load = Load(loads, number)
        self.accepting = Accepting(listening, self.make, lambda: len(self.taken), self.load)

    def make(self) -> asyncio.Protocol:
        self.taken.append(asyncio.Protocol())
        return self.taken[-1]


class Place:
    """A listening socket, and clients of it."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.clients: list[socket.socket] = []

    def come(self, count: int = CLIENTS) -> None:
        self.clients += [socket.create_connection(self.listening.getsockname()) for _ in range(count)]

    def close(self) -> None:
        for each in (self.listening, *self.clients):
            each.close()


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def main() -> None:
        place = Place()
        try:
            await test(place)
        finally:
            place.close()

    asyncio.run(main(), loop_factory=uvloop.new_event_loop)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


def test_clients_that_come_at_once_spread_evenly() -> None:
    async def test(place: Place) -> None:
        loads = Loads(2)
        workers = [Worker(loads, number, place.listening.dup()) for number in range(2)]
        place.come()
        await until(lambda: sum(len(each.taken) for each in workers) == CLIENTS)
        assert all(len(each.taken) >= CLIENTS // 4 for each in workers)
        for each in workers:
            each.accepting.close()

    run(test)


def test_a_worker_with_more_leaves_clients_alone() -> None:
    async def test(place: Place) -> None:
        loads = Loads(2)
        few, many = (Worker(loads, number, place.listening.dup()) for number in range(2))
        many.taken += [asyncio.Protocol()] * CLIENTS
        many.load.tell(CLIENTS)
        for number in range(CLIENTS):
            place.come(1)
            await until(lambda come=number + 1: len(few.taken) + len(many.taken) == CLIENTS + come)  # type: ignore[misc]
        assert len(few.taken) > CLIENTS // 2
        for each in (few, many):
            each.accepting.close()

    run(test)


def test_nobody_waits_for_a_worker_that_hangs() -> None:
    """It has no clients, as it told long ago, and takes none."""

    async def test(place: Place) -> None:
        loads = Loads(2)
        loads.tell(0, 0)
        one = Worker(loads, 1, place.listening.dup())
        place.come()
        await until(lambda: len(one.taken) == CLIENTS)
        one.accepting.close()

    run(test)


def test_a_worker_that_is_alone_never_pauses() -> None:
    """So is one whose neighbours ended, or have not begun."""

    async def test(place: Place) -> None:
        loads = Loads(2)
        gone = Load(loads, 0)
        gone.tell(0)
        gone.end()
        gone.tell(0)  # its last clients leave
        one = Worker(loads, 1, place.listening.dup())
        place.come()
        await until(lambda: len(one.taken) == CLIENTS)
        assert one.accepting._pause is None
        one.accepting.close()

    run(test)


class Scarce(socket.socket):
    """A listening socket of a process that is short of descriptors for a while."""

    fails = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_a_shortage_of_descriptors_delays_and_loses_nobody() -> None:
    async def test(place: Place) -> None:
        scarce = Scarce(fileno=place.listening.dup().detach())
        one = Worker(Loads(), 0, scarce)
        place.come(3)
        await until(lambda: len(one.taken) == 3)
        assert not scarce.fails
        one.accepting.close()

    run(test)


def test_a_client_that_left_before_it_was_taken_ends_nothing() -> None:
    async def test(place: Place) -> None:
        place.come(2)
        for client in place.clients:
            client.close()
        place.clients.clear()
        one = Worker(Loads(), 0, place.listening.dup())
        place.come(1)
        await until(lambda: len(one.taken) == 3)
        one.accepting.close()

    run(test)
