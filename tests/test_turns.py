"""The time of one sandbox: its connections have it together, and the others have their turn in between."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from proxy import turns
from proxy.turns import Share


def run(play: Callable[[Share], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(play(Share()), 20)

    asyncio.run(main())


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def turn() -> None:
    """Return after one turn of the loop."""
    await asyncio.sleep(0)


def test_what_is_left_of_a_slice_is_used_at_once() -> None:
    async def play(share: Share) -> None:
        steps: list[int] = []
        assert share.now(lambda: steps.append(1))
        assert share.now(lambda: steps.append(2))
        assert steps == [1, 2]

    run(play)


def test_connections_of_one_sandbox_have_one_slice_in_a_turn_however_many_they_are() -> None:
    async def play(share: Share) -> None:
        taken: list[int] = []

        def step(number: int) -> None:
            taken.append(number)
            spin(turns.SLICE)

        for number in range(8):
            if not share.now(lambda number=number: step(number)):
                share.later(lambda number=number: step(number))
        assert taken == [0]
        for count in range(1, 8):
            before = len(taken)
            while len(taken) == before:
                await turn()
            # One more only where the clock of a busy machine jumped: a turn never holds two whole slices.
            assert len(taken) == count + 1
        assert taken == list(range(8)), "in the order in which they came"

    run(play)


def test_a_step_can_see_that_it_should_leave_the_rest() -> None:
    async def play(share: Share) -> None:
        seen: list[bool] = []

        def step() -> None:
            seen.append(share.over)
            spin(turns.SLICE)
            seen.append(share.over)

        assert share.now(step)
        assert seen[-1]
        assert not share.now(step)

    run(play)


def test_another_sandbox_has_a_slice_of_its_own() -> None:
    async def play(share: Share) -> None:
        share.now(lambda: spin(turns.SLICE))
        assert not share.now(lambda: None)
        assert Share().now(lambda: None)

    run(play)


def test_who_took_long_waits_as_long_again() -> None:
    async def play(share: Share) -> None:
        share.now(lambda: spin(turns.LONG * 5))
        ended, done = time.monotonic(), asyncio.get_running_loop().create_future()
        share.later(lambda: done.set_result(time.monotonic()))
        assert await done - ended >= turns.LONG * 5 * 0.9

    run(play)


def test_a_step_that_asks_for_another_has_it_in_a_later_turn() -> None:
    async def play(share: Share) -> None:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1
            share.later(step)

        share.now(step)
        for _ in range(10):
            before = steps
            await turn()
            assert steps - before <= 1
        while steps < 10:
            await turn()

    run(play)
