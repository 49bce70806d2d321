"""Other sandboxes go on while one attacks: what each of their requests takes is printed, and each is answered.

Numbers, not assertions about time: `pytest tests/bounds/test_neighbours.py -s -m slow` shows them.
"""

import base64
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.bounds.attacked import MIB, POLICY, World, attacked
from tests.bounds.test_memory import (
    ATTACKS,
    continuation_flood,
    denied_upload,
    endless_head,
    many_streams,
    ping_flood,
    push,
)
from tests.support.rawclient import RawClient
from tests.support.record import Received
from tests.support.wire import Wire

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


def shown(world: World, policy: str) -> dict[str, str]:
    """What a client of a sandbox of its own says of itself."""
    url = world.proxy.env("--policy", policy, "--name", policy)["HTTPS_PROXY"]
    token = url.removeprefix("http://").partition("@")[0].encode()
    return {"Proxy-Authorization": "Basic " + base64.b64encode(token).decode()}


def inside(world: World, who: dict[str, str]) -> RawClient:
    client = world.proxy.client()
    assert client.connect("free.example:443", who).status == 200
    client.tls("free.example", world.proxy.ca_file)
    return client


@pytest.mark.slow
def test_a_neighbour_is_served_beside_many_busy_connections_of_one_sandbox(tmp_path: Path) -> None:
    """Bodies in chunks of one byte, on sixteen connections."""
    both = {f"{name}.yaml": POLICY.replace("name: attacked", f"name: {name}") for name in ("loud", "calm")}
    with attacked(tmp_path, policy=both, serving=False) as world:
        loud, calm = shown(world, "loud"), shown(world, "calm")

        async def swallow(_: Received, wire: Wire) -> None:
            while await wire.reader.read(1 << 18):
                pass

        world.upstream.on("/sink", swallow)

        def flood(client: RawClient) -> None:
            client.send(b"POST /sink HTTP/1.1\r\nHost: free.example\r\nTransfer-Encoding: chunked\r\n\r\n")
            push(client, b"1\r\nx\r\n" * 10_000, 1 << 40)

        took = []
        with ExitStack() as opened:
            flooding = [opened.enter_context(inside(world, loud)) for _ in range(16)]
            threads = [threading.Thread(target=flood, args=(client,)) for client in flooding]
            for thread in threads:
                thread.start()
            with inside(world, calm) as client:
                for number in range(REQUESTS // 3):
                    start = time.perf_counter()
                    assert client.request("GET", f"/{number}", "free.example").status == 200
                    took.append((time.perf_counter() - start) * 1000)
            for client in flooding:
                client._socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
    took.sort()
    print(f"\nMEASURED beside 16: p50 {took[len(took) // 2]:.1f} ms, p99 {took[len(took) * 99 // 100]:.1f} ms")  # noqa: T201


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
