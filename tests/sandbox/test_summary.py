"""What a run says at its end."""

import json

from proxy.review.seen import Seen, read_event
from proxy.sandbox.summary import summarise
from tests.review.events import event


def _passed_with(reason: str) -> Seen:
    seen = read_event(json.dumps(event(reason=reason)).encode())
    assert seen is not None
    return seen


def test_an_outage_is_not_what_observe_let_pass() -> None:
    summary = summarise([_passed_with("upstream_unreachable")])
    assert (summary.observed, summary.reached.total()) == (0, 1)


def test_what_observe_let_pass_is_counted() -> None:
    summary = summarise([_passed_with("host_not_allowed")])
    assert summary.observed == 1
    assert any("mode: observe" in line for line in summary.lines())
