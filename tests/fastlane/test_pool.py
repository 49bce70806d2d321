"""How long a kept connection waits, and for whom."""

import time
from typing import Any, cast

import pytest

from proxy import limits
from proxy.fastlane.pool import Pool, Use
from proxy.fastlane.upstream import Upstream

USE = Use("sandbox", "digest", None, "https", "good.example", 443)


class Kept:
    """What a pool sees of an upstream."""

    def __init__(self, *, silent: bool = True) -> None:
        self.user, self.closed, self.silent = None, False, silent

    def is_silent(self) -> bool:
        return self.silent

    def resume(self) -> None: ...

    def abort(self) -> None:
        self.closed = True

    close = abort


def put(pool: Pool, kept: Kept) -> Kept:
    pool.put(USE, cast(Upstream, kept))
    return kept


@pytest.mark.parametrize(
    ("idle", "longest", "used"),
    [
        (0.0, limits.KEPT_TIME_ONCE, True),
        (limits.KEPT_TIME_ONCE, limits.KEPT_TIME_ONCE, False),
        (limits.KEPT_TIME_ONCE, limits.KEPT_TIME, True),
        (limits.KEPT_TIME, limits.KEPT_TIME, False),
    ],
)
def test_one_that_was_idle_for_too_long_is_not_used(
    idle: float, longest: float, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, now = Pool(), time.monotonic()
    monkeypatch.setattr("proxy.fastlane.pool.time.monotonic", lambda: now)
    kept: Any = put(pool, Kept())
    now += idle
    assert (pool.take(USE, longest) is kept) == used


def test_one_on_which_something_came_is_not_used_and_the_one_before_it_is() -> None:
    pool = Pool()
    first, second = put(pool, Kept()), put(pool, Kept(silent=False))
    assert cast(Any, pool.take(USE, limits.KEPT_TIME)) is first
    assert second.closed
    assert pool.take(USE, limits.KEPT_TIME) is None
