"""What GitHub Actions shows of a run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.review.seen import Seen, read_event
from proxy.sandbox.step_summary import append, page_of
from proxy.sandbox.summary import summarise
from tests.review.events import event, passed, refused


def _seen(*events: dict[str, Any]) -> Iterator[Seen]:
    for each in events:
        seen = read_event(json.dumps(each).encode())
        assert seen is not None
        yield seen


@pytest.mark.parametrize(
    ("environment", "page"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "/x/summary"}, Path("/x/summary")),
        ({"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": ""}, None),
        ({"GITHUB_STEP_SUMMARY": "/x/summary"}, None),
        ({}, None),
    ],
)
def test_only_actions_has_a_page(environment: dict[str, str], page: Path | None) -> None:
    assert page_of(environment) == page


def test_it_is_written_behind_what_is_there(tmp_path: Path) -> None:
    page = tmp_path / "summary"
    page.write_text("# before, without a line break")
    summary = summarise(
        _seen(
            passed("api", url="https://a.example/", credential="key", injected=True),
            event(url="https://a.example/", reason="host_not_allowed"),
            *(refused("host_not_allowed", url="https://b.example:8443/") for _ in range(2)),
        )
    )
    append(page, "claude-1", "web", summary)
    assert page.read_text().splitlines() == [
        "# before, without a line break",
        "### outgate run: claude-1",
        "",
        "2 passed, 2 refused, under the policy web",
        "",
        "1 of these would be refused without <code>mode: observe</code>",
        "",
        "| refused | why | requests |",
        "|---|---|---|",
        "| b.example:8443 | this sandbox's policy does not allow the host &#40;host&#95;not&#95;allowed&#41; | 2 |",
        "",
        "| reached | requests |",
        "|---|---|",
        "| a.example | 2 |",
        "",
        "| credential sent | requests |",
        "|---|---|",
        "| key | 1 |",
    ]


def test_nothing_from_outside_is_markup_and_tables_are_bounded(tmp_path: Path) -> None:
    events = [refused("host_not_allowed", url=f"https://h{number}.example/") for number in range(60)]
    odd = "<img src=x>|[a](https://evil.example)\n# b `c` @d www.e\x1b[2J\u202e"
    page = tmp_path / "summary"
    append(page, odd, odd, summarise([*_seen(*events, passed("r", credential=odd, injected=True))]))
    text = page.read_text()
    assert text.count("| h") == 50
    assert "\nand 10 more\n" in text
    shown = text.replace("<code>", "").replace("</code>", "")
    assert not re.search(r"<|\]\(|https://|www\.|@|`|\x1b|\u202e|^# ", shown, re.MULTILINE)
