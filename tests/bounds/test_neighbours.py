"""Other sandboxes go on while one attacks: what each of their requests takes is printed, and each is answered.

Numbers, not assertions about time: `pytest tests/bounds/test_neighbours.py -s -m slow` shows them.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bounds.attacked import MIB, World, attacked
from tests.bounds.test_memory import ATTACKS, continuation_flood, denied_upload, endless_head, many_streams, ping_flood

REQUESTS = 300
LOUD = [endless_head, denied_upload, continuation_flood, many_streams, ping_flood]


def times(world: World, count: int) -> list[float]:
    """Milliseconds that each of so many requests on one kept connection takes, sorted."""
    took = []
    with world.proxy.tunnel("free.example:443") as client:
        for number in range(count):
            start = time.perf_counter()
            assert client.request("GET", f"/{number}", "free.example").status == 200
            took.append((time.perf_counter() - start) * 1000)
    return sorted(took)


@pytest.mark.slow
@pytest.mark.parametrize("attack", LOUD, ids=lambda attack: attack.__name__)
def test_a_neighbour_is_served_while_one_attacks(tmp_path: Path, attack: Callable[[World], None]) -> None:
    assert attack in ATTACKS
    over = threading.Event()

    def attack_on() -> None:
        while not over.is_set():
            with suppress(AssertionError, OSError):
                attack(world)

    with attacked(tmp_path) as world:
        quiet = times(world, REQUESTS)
        attacker = threading.Thread(target=attack_on)
        attacker.start()
        try:
            beside = times(world, REQUESTS)
        finally:
            over.set()
            attacker.join(60)
        assert not attacker.is_alive()
    for name, took in (("alone", quiet), (f"beside {attack.__name__}", beside)):
        p50, p99 = took[REQUESTS // 2], took[REQUESTS * 99 // 100]
        print(f"\nMEASURED {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")  # noqa: T201


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of a few MiB needs root to be mounted")
def test_a_disk_that_fills_stops_forwarding_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    state = tmp_path / "proxy" / "state"
    mounted = False

    def mount(folder: Path) -> None:
        nonlocal mounted
        folder.mkdir(parents=True, mode=0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder)], check=False)
        if done.returncode != 0:
            pytest.skip("this machine does not let us mount a tmpfs")
        mounted = True

    try:
        with attacked(tmp_path, prepare=lambda: mount(state)) as world:
            filler = state / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 4096)
            forwarded = len(world.upstream.record.requests)
            with world.proxy.tunnel("free.example:443") as client:
                statuses = [client.request("GET", f"/{number}", "free.example").status for number in range(80)]
                reason = client.request("GET", "/last", "free.example").json()["reason"]
            assert (statuses[-1], reason) == (503, "audit_unavailable")
            assert len(world.upstream.record.requests) - forwarded == statuses.count(200)
            assert world.peak() < 512 * MIB
            filler.unlink()
            assert world.serves()
            events = world.proxy.wait_for_events(lambda found: any(event["path"] == "/last" for event in found))
            assert len({event["id"] for event in events}) == len(events)
    finally:
        if mounted:
            subprocess.run(["umount", str(state)], check=True)
