"""The dial: a share of the look-ups for each sandbox, and the name that was judged."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network
from threading import Event, Thread

import pytest

from proxy import dial, limits
from proxy.dial import Dialer, DialError, Grant
from proxy.policy.host import Address, parse_host
from proxy.policy.reason import Reason

MINE, OTHERS = ("mine", "main"), ("others", "main")


class Resolver:
    """Stands in for the system's: names that begin with `slow` get no answer until `answer`, others a private one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = Event()

    def __call__(self, name: str) -> list[Address]:
        self.asked.append(name)
        if name.startswith("slow"):
            assert self.answer.wait(30)
        return [ip_address("10.0.0.1")]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(dial, "_getaddrinfo", made)
    yield made
    made.answer.set()


async def outcome(dialer: Dialer, name: str, asker: tuple[str, str] = MINE) -> Reason:
    with pytest.raises(DialError) as raised:
        await dialer.open(Grant(parse_host(name), 443), asker, asyncio.open_connection, lambda _: None)
    return raised.value.reason


async def until(done: Callable[[], bool]) -> None:
    """Let the threads tell the loop what they have."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - a thread's end has no event
            await asyncio.sleep(0.001)


def run(test: Callable[[Dialer], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Dialer())

    asyncio.run(main())


def test_look_ups_without_an_answer_take_a_share_and_nobody_elses(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESOLVE_TIME", 0.01)

    async def test(dialer: Dialer) -> None:
        for number in range(limits.MAX_LOOKUPS):
            assert await outcome(dialer, f"slow{number}.example") is Reason.UPSTREAM_UNREACHABLE
        # They were given up, and hold their threads all the same.
        assert await outcome(dialer, "slow-more.example") is Reason.LIMIT_EXCEEDED
        assert await outcome(dialer, "quick.example") is Reason.LIMIT_EXCEEDED
        monkeypatch.setattr(limits, "RESOLVE_TIME", 30)
        for sandbox in range(20):
            assert await outcome(dialer, "quick.example", (f"n{sandbox}", "main")) is Reason.ADDRESS_IS_PRIVATE
        assert await outcome(dialer, "quick.example", OTHERS) is Reason.ADDRESS_IS_PRIVATE
        assert "slow-more.example" not in resolver.asked
        resolver.answer.set()
        await until(lambda: not dialer._lookups._running)
        assert await outcome(dialer, "quick.example") is Reason.ADDRESS_IS_PRIVATE

    run(test)


def test_one_look_up_serves_all_who_ask_for_the_name_meanwhile(resolver: Resolver) -> None:
    async def test(dialer: Dialer) -> None:
        many = [asyncio.ensure_future(outcome(dialer, "slow.example")) for _ in range(3 * limits.MAX_LOOKUPS)]
        await until(lambda: bool(resolver.asked))
        many[0].cancel()
        resolver.answer.set()
        assert set(await asyncio.gather(*many[1:])) == {Reason.ADDRESS_IS_PRIVATE}
        assert resolver.asked == ["slow.example"]
        assert await outcome(dialer, "slow.example") is Reason.ADDRESS_IS_PRIVATE
        assert len(resolver.asked) == 2, "an answer is not kept"

    run(test)


def test_a_system_without_threads_refuses(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    class Thread:
        def __init__(self, **_: object) -> None: ...
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    async def test(dialer: Dialer) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(dial, "Thread", Thread)
            assert await outcome(dialer, "a.example") is Reason.LIMIT_EXCEEDED
        assert await outcome(dialer, "a.example") is Reason.ADDRESS_IS_PRIVATE

    run(test)


def test_threads_that_are_done_are_used_again_and_few_of_them_stay(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Thread] = []

    class Noted(Thread):
        def start(self) -> None:
            made.append(self)
            super().start()

    monkeypatch.setattr(dial, "Thread", Noted)

    async def test(dialer: Dialer) -> None:
        threads = dialer._lookups._threads
        for _ in range(20):
            assert await outcome(dialer, "quick.example") is Reason.ADDRESS_IS_PRIVATE
            await until(lambda: threads._free == 1)
        assert len(made) == 1
        askers = [(f"n{number}", "main") for number in range(3 * dial._KEPT)]
        slow = [asyncio.ensure_future(outcome(dialer, "slow.example", asker)) for asker in askers]
        await until(lambda: len(resolver.asked) == 20 + len(slow))
        assert len(made) == len(slow), "each has its own"
        resolver.answer.set()
        await asyncio.gather(*slow)
        await until(lambda: sum(each.is_alive() for each in made) == dial._KEPT == threads._free)

    run(test)


def test_a_resolver_that_fails_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> list[Address]:
        raise OSError("no such name")

    monkeypatch.setattr(dial, "_getaddrinfo", fails)

    async def test(dialer: Dialer) -> None:
        assert await outcome(dialer, "a.example") is Reason.UPSTREAM_UNREACHABLE
        assert not dialer._lookups._running

    run(test)


def test_the_search_list_of_the_host_is_out_of_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/boundary shows what that does: case rebinding-nowhere."""
    monkeypatch.setenv("LOCALDOMAIN", "corp.example")
    Dialer()
    assert os.environ["LOCALDOMAIN"] == "."


# --- several addresses ---

ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
TURNS = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]
OPEN = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def connected(monkeypatch: pytest.MonkeyPatch, attempts: Callable[[str], Awaitable[str]]) -> tuple[str, list[str]]:
    """What a name with four addresses is connected to, and what was discarded."""
    discarded: list[str] = []
    monkeypatch.setattr(dial, "_getaddrinfo", lambda _: [ip_address(each) for each in ADDRESSES])
    monkeypatch.setattr(dial, "_NEXT", 0.01)

    async def main() -> str:
        grant = Grant(parse_host("many.example"), 443, OPEN)
        made = await Dialer().open(grant, MINE, lambda ip, _: attempts(ip), discarded.append)
        for _ in range(3):  # for what comes too late
            await asyncio.sleep(0)
        return made

    return asyncio.run(main()), discarded


def test_an_address_that_is_silent_keeps_nobody_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    ended: list[str] = []

    async def attempt(ip: str) -> str:
        tried.append(ip)
        if ip != TURNS[2]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(ip)
        return ip

    assert connected(monkeypatch, attempt) == (TURNS[2], [])
    assert tried == TURNS[:3], "the families take turns"
    assert sorted(ended) == sorted(TURNS[:2]), "nobody goes on trying"


def test_an_address_that_refuses_leads_to_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def attempt(ip: str) -> str:
        tried.append(ip)
        if ip != TURNS[-1]:
            raise ConnectionRefusedError
        return ip

    assert connected(monkeypatch, attempt) == (TURNS[-1], [])
    assert tried == TURNS


def test_a_connection_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    both = asyncio.Event()

    async def attempt(ip: str) -> str:
        if ip == TURNS[0]:
            await both.wait()
        both.set()
        return ip

    made, discarded = connected(monkeypatch, attempt)
    assert {made, *discarded} == set(TURNS[:2])
    assert len(discarded) == 1


def test_the_last_failure_is_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def attempt(ip: str) -> str:
        raise OSError(0, f"no way to {ip}")

    with pytest.raises(DialError, match=f"{TURNS[-1]} port 443: no way to {TURNS[-1]}"):
        connected(monkeypatch, attempt)


def test_no_address_is_tried_before_all_are_vetted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_dial.OPEN", OPEN[:1])

    async def attempt(ip: str) -> str:
        raise AssertionError(ip)

    with pytest.raises(DialError) as raised:
        connected(monkeypatch, attempt)
    assert raised.value.reason is Reason.ADDRESS_IS_PRIVATE
