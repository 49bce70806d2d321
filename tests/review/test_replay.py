"""Recorded events decided again: what changes, what does not, and what the record cannot tell."""

import io
from datetime import date
from typing import Any

import pytest

from proxy.audit.event import Event
from proxy.config.compile import assemble
from proxy.policy.rules import Policy
from proxy.review import replay as replay_module
from proxy.review.log import Log
from proxy.review.replay import Filter, Outcome, Replay, replay
from proxy.review.suggest import compiled
from tests.review.events import event, lines, passed, refused, tunnel

POLICY = """
version: 1
name: next
allow:
  - {id: docs, why: w, hosts: [docs.example], paths: [/en/*]}
  - {id: api, why: w, hosts: [api.example], methods: [POST], paths: [/v1], credential: key}
  - {id: find, why: w, hosts: [find.example], query: {state: open}}
  - {id: old, why: w, hosts: [old.example], expires: 2026-11-19}
  - {id: inside, why: w, hosts: [inside.example], addresses: [10.0.0.0/8]}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
deny:
  - {id: never, why: w, hosts: [docs.example], paths: [/en/secret]}
  - {id: raw, why: w, hosts: [find.example], query: {raw: "1"}}
  - {id: meta, why: w, addresses: [93.184.216.0/24]}
credentials:
  key: {from: env:KEY, hosts: [api.example], inject: {bearer: true}}
"""


def candidate(text: str = POLICY) -> Policy:
    return assemble([compiled(text)])


def run(*events: Event, policy: Policy | None = None, **given: Any) -> Replay:
    candidates = given.pop("candidates", {None: policy or candidate()})
    return replay(Log(["-"], io.BytesIO(lines(*events))), candidates, **given)


R, P, D, C, U, S = (Outcome(name) for name in ("refused", "passed", "depends", "changed", "unjudged", "unchanged"))


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (passed("docs", url="https://docs.example/en/a"), S),
        (passed("docs", url="https://docs.example/de/a"), R),
        (passed("docs", "POST", url="https://docs.example/en/a"), R),
        (passed("docs", url="https://docs.example/en/secret"), R),
        (passed("wide", url="https://docs.example/en/a"), C),
        (passed("x", url="https://other.example/"), R),
        (passed("x", url="https://docs.example:8443/en/a"), R),
        (passed("x", url="http://docs.example/en/a"), R),
        (passed("docs", url="https://docs.example/en//a"), R),
        (event(url="https://docs.example/en/a"), C),
        (event(url="https://other.example/"), R),
        (refused("host_not_allowed", url="https://docs.example/en/a"), P),
        (refused("path_not_allowed", url="https://docs.example/de/a", nearest="docs"), S),
        (refused("host_not_allowed", url="https://docs.example/de/a"), C),
        (refused("denied_by_rule", url="https://docs.example/en/a", rule="gone"), P),
        (refused("ambiguous_path", url="https://docs.example/en//a", rule="never"), S),
        (refused("upstream_unreachable", url="https://docs.example/en/a", rule="docs"), S),
        (refused("limit_exceeded", url="https://docs.example/en/a", rule="docs"), S),
        (passed("api", "POST", "https://api.example/v1", credential="key", injected=True), S),
        (passed("api", "POST", "https://api.example/v1"), C),
        (refused("credential_unavailable", "POST", "https://api.example/v1", rule="api", credential="key"), D),
        (refused("client_credential_refused", "POST", "https://api.example/v1", rule="api"), D),
        (refused("credential_wrong_host", "POST", "https://api.example/v1", rule="api"), D),
        (passed("find", url="https://find.example/?state=open"), D),
        (passed("find", url="https://find.example/?raw=1"), R),
        (passed("find", url="https://find.example/?x=1"), R),
        (passed("find", url="https://find.example/"), R),
        (passed("old", url="https://old.example/"), R),
        (passed("docs", url="https://docs.example/en/a", upstream_ip="93.184.216.34"), R),
        (passed("docs", url="https://docs.example/en/a", upstream_ip="127.0.0.1"), D),
        (passed("inside", url="https://inside.example/", upstream_ip="10.1.2.3"), S),
        (passed("docs", url="https://docs.example/en/a", upstream_ip="127.0.0.1", reason="upstream_unreachable"), D),
        (refused("address_is_private", url="https://docs.example/en/a", rule="docs"), D),
        (tunnel("pinned.example:443", rule="pinned"), S),
        (tunnel("docs.example:443"), D),
        (tunnel("other.example:443"), R),
        (passed("x", url="https://pinned.example/x"), C),
        (refused("protocol_not_allowed", "CONNECT", "https://pinned.example:443", scheme="", path=""), D),
        (refused("unauthenticated", policy=None, policy_digest=None), U),
        (refused("malformed_request", host=None, port=None), U),
        (refused("policy_error"), U),
        (event(url="https://docs.example/en/" + "a" * 3000), U),
    ],
)
def test_what_a_candidate_means_for_an_event(one: Event, outcome: Outcome) -> None:
    result = run(one)
    assert {each: count for each, count in result.totals.items() if count} == {outcome: 1}, result.groups
    assert len(result.groups) == (outcome is not S)
    if outcome in (D, U):
        assert result.groups[0].judged.depends


def test_under_the_policy_that_was_in_force_nothing_changes() -> None:
    policy = candidate()
    day = {"policy_digest": policy.digest, "policy": "next"}
    result = run(passed("anything", url="https://other.example/", **day), refused("host_not_allowed", **day))
    assert result.totals[S] == 2
    again = run(passed("old", url="https://old.example/", **day), today=date(2027, 1, 1))
    assert again.totals[R] == 1, "the same policy on another day is another question"


def test_expiry_is_judged_by_the_day_of_the_event_unless_a_day_is_given() -> None:
    before = passed("old", url="https://old.example/", time="2026-11-19T23:59:59+00:00")
    assert run(before).totals[S] == 1
    assert run(before, today=date(2026, 11, 20)).totals[R] == 1


def test_events_that_are_alike_stand_in_one_group_by_rule_with_times_and_an_example() -> None:
    result = run(
        *(passed("items", url=f"https://a.example/items/{n}", at=n, id=f"id-{n}") for n in (3, 1, 2)),
        passed("other", url="https://a.example/items/9"),
        passed("items", "POST", url="https://a.example/items/9"),
    )
    first, *rest = result.groups
    assert (first.count, first.judged.before.rule, first.place.path) == (3, "items", "/items/*")
    assert (first.first.second, first.last.second, first.example[0]) == (1, 3, "id-3")
    assert [group.count for group in rest] == [1, 1]


def test_several_candidates_stand_in_for_their_names() -> None:
    both: dict[str | None, Policy] = {"watch": candidate(), "x": candidate()}
    result = run(passed("docs", url="https://docs.example/en/a"), passed("r", policy="third"), candidates=both)
    assert (result.totals[S], result.other, result.judged) == (1, 1, 1)


def test_events_are_chosen_by_sandbox_and_time() -> None:
    events = [event(sandbox="a", at=0), event(sandbox="b", at=10), event(sandbox="a", at=20)]
    since = Log(["-"], io.BytesIO(lines(events[1]))).__iter__().__next__().time
    assert run(*events, wanted=Filter(frozenset({"a"}), since)).judged == 1
    assert run(*events, wanted=Filter()).judged == 3


def test_groups_are_bounded_and_every_event_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "MAX_GROUPS", 10)
    result = run(*(passed("r", url=f"https://h{n}.example/") for n in range(50)))
    assert result.totals[R] == 50
    assert len(result.groups) <= 11
    assert sum(group.count for group in result.groups) == 50
