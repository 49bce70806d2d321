"""When a refusal counts as the same again, and that counting it is bounded."""

import time
from typing import Any

import pytest

from proxy import limits
from proxy.exchange import Exchange
from proxy.internal.recent import Recent
from proxy.internal.repeats import Repeats
from proxy.policy.decide import Decision
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy

ONE = Policy(name="one")


def refused(reason: Reason = Reason.HOST_NOT_ALLOWED, **given: Any) -> Exchange:
    base: dict[str, Any] = {"sandbox": "a", "policy": ONE, "host": Host("evil.example"), "port": 443, "method": "GET"}
    return Exchange(**(base | {"decision": Decision(reason=reason)} | given))


def test_the_same_host_is_the_same_whatever_is_asked_of_it() -> None:
    repeats = Repeats()
    assert [repeats.count(refused(path=path, method=method), 0) for path, method in (("/", "GET"), ("/x", "POST"))] == [
        1,
        2,
    ]


def test_paths_of_an_allowed_host_are_told_apart_by_all_but_ids() -> None:
    repeats = Repeats()
    paths = ["/repos/a/issues/1", "/repos/a/issues/22", "/repos/b/issues/1"]
    assert [repeats.count(refused(Reason.PATH_NOT_ALLOWED, path=path), 0) for path in paths] == [1, 2, 1]
    assert repeats.count(refused(Reason.PATH_NOT_ALLOWED, path=paths[0], method="POST"), 0) == 1


@pytest.mark.parametrize(
    "other",
    [
        refused(sandbox="b"),
        refused(policy=Policy(name="two")),
        refused(host=Host("other.example")),
        refused(port=8443),
        refused(Reason.SCHEME_NOT_ALLOWED),
    ],
)
def test_others_are_counted_for_themselves(other: Exchange) -> None:
    repeats = Repeats()
    repeats.count(refused(), 0)
    assert repeats.count(other, 0) == 1


def test_a_pause_begins_anew() -> None:
    repeats = Repeats()
    assert repeats.count(refused(), 0) == 1
    assert repeats.count(refused(), limits.REPEATED_TIME) == 2
    assert repeats.count(refused(), 2 * limits.REPEATED_TIME + 1) == 1


@pytest.mark.parametrize(
    "reason", [Reason.UPSTREAM_UNREACHABLE, Reason.LIMIT_EXCEEDED, Reason.MALFORMED_REQUEST, Reason.AUDIT_UNAVAILABLE]
)
def test_what_may_pass_the_next_time_is_not_counted(reason: Reason) -> None:
    repeats = Repeats()
    assert [repeats.count(refused(reason), 0) for _ in range(3)] == [0, 0, 0]


def test_who_is_not_known_is_not_counted() -> None:
    assert Repeats().count(refused(Reason.UNAUTHENTICATED, policy=Policy(), sandbox=""), 0) == 0
    assert Repeats().count(refused(policy=Policy(), sandbox=""), 0) == 0


def test_one_sandbox_cannot_make_another_be_forgotten() -> None:
    repeats = Repeats()
    repeats.count(refused(sandbox="quiet"), 0)
    for number in range(10 * limits.MAX_REPEATED):
        repeats.count(refused(host=Host(f"h{number}.example")), 0)
    assert repeats.count(refused(sandbox="quiet"), 0) == 2


def test_the_table_is_bounded_and_forgets_what_is_not_asked_for() -> None:
    table: Recent[int, list[int]] = Recent(3, list)
    for number in (1, 2, 3, 1, 4):
        table[number].append(number)
    assert len(table) == 3
    assert (table[1], table[2]) == ([1, 1], [])


def test_a_long_path_is_counted_in_no_time() -> None:
    """One search for an id from each of its characters on took seconds of CPU."""
    repeats, began = Repeats(), time.process_time()
    for path in ("/" + "a" * limits.MAX_TARGET, "/" * limits.MAX_TARGET, "/a1" * (limits.MAX_TARGET // 3)):
        for _ in range(10):
            repeats.count(refused(Reason.PATH_NOT_ALLOWED, path=path), 0)
    assert time.process_time() - began < 1.0
