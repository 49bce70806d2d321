"""The watchdog: silence is counted as long as somebody listens, and no longer."""

import os
import time
from pathlib import Path

import pytest

from proxy import limits
from proxy.engine.control import ANSWER_TIME
from proxy.engine.watchdog import START_TIME, Pulse, Watchdog
from tests.support.engine import make_services, running
from tests.support.pki import Authority


def looks(watchdog: Watchdog, seconds: float, *, every: float = 1.0, beating: bool = False) -> bool:
    """Look for so long, so often; whether the worker hangs at the end."""
    hangs = False
    for _ in range(int(seconds / every)):
        if beating:
            watchdog.pulse.beat()
        hangs = watchdog.hangs(watchdog.looked + every)
    return hangs


@pytest.fixture
def watchdog() -> Watchdog:
    """Of a worker that has begun to beat."""
    watchdog = Watchdog()
    watchdog.pulse.beat()
    assert not watchdog.hangs(watchdog.looked + 1)
    return watchdog


def test_a_worker_that_beats_never_hangs(watchdog: Watchdog) -> None:
    assert not looks(watchdog, 1000, beating=True)


def test_a_worker_that_is_silent_hangs(watchdog: Watchdog) -> None:
    assert not looks(watchdog, limits.HANG_TIME)
    assert looks(watchdog, 1)


def test_one_beat_ends_a_silence(watchdog: Watchdog) -> None:
    looks(watchdog, limits.HANG_TIME)
    assert not looks(watchdog, 1, beating=True)
    assert not looks(watchdog, limits.HANG_TIME)


def test_a_machine_that_stood_still_ends_no_worker(watchdog: Watchdog) -> None:
    """Suspended, or all of the proxy stopped: the supervisor did not look, and its workers could not beat."""
    assert not watchdog.hangs(watchdog.looked + 86_400)
    assert not looks(watchdog, 10, every=10)


def test_a_worker_has_longer_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANG_TIME", 5.0)
    watchdog = Watchdog()
    assert not looks(watchdog, START_TIME)
    assert looks(watchdog, 1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_beat_in_another_process_is_seen_and_never_looks_like_none() -> None:
    pulse = Pulse()
    counts = set()
    for _ in range(300):
        pulse.beat()
        counts.add(pulse.count)
    assert counts == set(range(1, 256))
    before = pulse.count
    child = os.fork()
    if not child:
        pulse.beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert pulse.count != before


def test_a_worker_that_serves_beats_again_and_again(tmp_path: Path) -> None:
    policy = "version: 1\nname: quiet\nallow: []\n"
    services = make_services(tmp_path, policy, {}, Authority(tmp_path).ca_file, {})
    with running(tmp_path, services) as engine:
        deadline = time.monotonic() + 30
        while engine.pulse.count < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_limit_is_above_every_pause_that_may_be() -> None:
    """A worker that is asked something by its supervisor, and one that drains, have as long to answer."""
    assert 2 * max(ANSWER_TIME, limits.DRAIN_TIME) <= limits.HANG_TIME
