"""A socket of the fast lane: what came is handled a portion at a time, all of it, in order."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from proxy import turns
from proxy.fastlane.wire import Wire

type Connected = tuple[asyncio.StreamWriter, "Taker"]
DATA = bytes(range(256)) * 2048


class Taker(Wire):
    """Notes each portion that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []
        self.whole = asyncio.get_running_loop().create_future()
        self.take: Callable[[], None] = lambda: None

    def received(self, data: bytes) -> None:
        self.taken.append(data)
        self.take()

    def said_all(self, *, whole: bool) -> None:
        self.whole.set_result(whole)
        self.close()

    def gone(self) -> None: ...

    def tls_failed(self, error: ssl.SSLError) -> None:
        raise error

    def failed(self) -> None:
        self.abort()


def run(play: Callable[[asyncio.StreamWriter, Taker], Awaitable[None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        taker = Taker()
        async with await loop.create_server(lambda: taker, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await play(writer, taker)
            taker.abort()
            writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 20))


def test_no_turn_handles_more_than_a_portion_and_nothing_is_lost() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        writer.write(DATA)
        writer.write_eof()
        assert await taker.whole
        assert b"".join(taker.taken) == DATA
        assert max(map(len, taker.taken)) <= turns.MOST
        assert len(taker.taken[0]) <= turns._FIRST

    run(play)


def test_the_loop_turns_behind_each_portion_that_takes_its_time() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        most = 0
        running = 0

        def begin() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            asyncio.get_running_loop().call_soon(end)
            time.sleep(turns.SLICE)

        def end() -> None:
            nonlocal running
            running -= 1

        taker.take = begin
        writer.write(DATA)
        writer.write_eof()
        await taker.whole
        assert len(taker.taken) > 4
        assert most <= 2  # the last portion of one turn, and the first of the next

    run(play)


def test_what_takes_long_is_given_less() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        taker.take = lambda: time.sleep(turns.LONG * 1.1)
        writer.write(DATA[: turns._FIRST * 2])
        writer.write_eof()
        await taker.whole
        assert {len(piece) for piece in taker.taken[2:-1]} == {turns._LEAST}

    run(play)


def test_nothing_is_handled_while_it_is_paused() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        paused = asyncio.get_running_loop().create_future()

        def pause() -> None:
            taker.pause()
            if not paused.done():
                paused.set_result(None)

        taker.take = pause
        writer.write(DATA)
        writer.write_eof()
        for count in range(1, 4):
            await paused
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(taker.taken) == count
            paused = asyncio.get_running_loop().create_future()
            taker.resume()
        taker.take = lambda: None
        taker.resume()
        assert await taker.whole
        assert b"".join(taker.taken) == DATA

    run(play)


def test_another_reader_can_take_what_nobody_has_looked_at() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        held = asyncio.get_running_loop().create_future()
        taker.take = lambda: held.set_result((taker.holds, taker.take_held()))
        first: Any = DATA[: turns._FIRST * 2]
        writer.write(first)
        had, rest = await held
        assert (taker.taken[0] + rest, had) == (first[: len(taker.taken[0] + rest)], bool(rest))
        assert not taker.holds

    run(play)


@pytest.mark.parametrize("spent", [0.0, turns.LONG * 2])
def test_a_portion_has_bounds(spent: float) -> None:
    portion = turns.Portion()
    for _ in range(20):
        portion.took(spent)
    assert portion.size == (turns._LEAST if spent else turns.MOST)


class Answering:
    """Stands in for TLS whose peer asks for an answer with each byte, as with KeyUpdate (RFC 8446 section 4.6.3)."""

    ended = False
    answers = True
    answer = b""

    def feed(self, data: memoryview) -> bytes:
        self.answer = bytes(data) * 64 if self.answers else b""
        return bytes(data)

    def pending(self) -> bytes:
        return self.answer


def test_a_peer_that_takes_no_answers_of_tls_is_not_read() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        tls: Any = Answering()
        taker.tls = tls
        writer.write(DATA * 8)
        while taker.writable:  # noqa: ASYNC110 - no event tells of a full buffer
            await asyncio.sleep(0)
        had = len(taker.taken)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(taker.taken) == had
        assert sum(map(len, taker.taken)) < len(DATA * 8)
        tls.answers = False
        taker.resume_writing()
        while sum(map(len, taker.taken)) < len(DATA * 8):  # noqa: ASYNC110 - nor of a piece that was taken
            await asyncio.sleep(0)
        assert b"".join(taker.taken) == DATA * 8

    run(play)


def test_an_end_that_the_loop_has_not_seen_yet_is_no_silence() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        came = asyncio.Event()
        taker.take = came.set
        writer.write(b"x")
        await came.wait()
        assert taker.is_silent()
        other: Any = writer.get_extra_info("socket")
        with socket.socket(fileno=os.dup(other.fileno())) as same:
            same.shutdown(socket.SHUT_WR)
        assert not taker.is_silent()

    run(play)


def test_what_came_while_nobody_reads_is_kept_and_told_later() -> None:
    async def play(writer: asyncio.StreamWriter, taker: Taker) -> None:
        taker.pause()
        for data in (b"one", b"two"):
            taker.get_buffer(-1)[: len(data)] = data  # as a loop does that reads whatever it was told
            taker.buffer_updated(len(data))
        assert taker.eof_received()
        assert not taker.taken
        assert not taker.whole.done()
        taker.resume()
        assert await taker.whole
        assert b"".join(taker.taken) == b"onetwo"

    run(play)
