"""`outgate replay`: three formats, exit codes, and what of the log could not be read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.review.events import event, lines, passed, refused, tunnel

MODEL = "https://api.anthropic.com/v1/messages"
LOG = lines(
    passed("model", "POST", MODEL, credential="anthropic", injected=True),
    passed("docs", url="https://docs.example.com/a/1"),
    passed("docs", url="https://docs.example.com/admin/1"),
    passed("gone", url="https://gone.example/"),
    refused("host_not_allowed", url="https://docs.example.com/b"),
    refused("unauthenticated", policy=None),
    tunnel("docs.example.com:443"),
)


@pytest.fixture
def log(folder: Path) -> Path:
    (folder / "state" / "audit").mkdir(parents=True)
    (folder / "state" / "audit" / "worker-0.jsonl").write_bytes(LOG)
    return folder / "state"


def test_text_says_what_would_change_by_rule(outgate: Any, log: Path) -> None:
    result = outgate("replay", str(log), "--policy", "web.yaml")
    assert (result.code, result.err) == (0, "")
    assert "7 events decided again under web (web.yaml)" in result.out
    assert "2 would now be refused" in result.out
    rows = [line.split("  ") for line in result.out.splitlines()]
    assert any(
        {"1", "GET https://gone.example/", "passed by gone", "refused host_not_allowed"}
        <= {cell.strip() for cell in row}
        for row in rows
    )
    assert "refused denied_by_rule by no-admin" in result.out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 0),
        (("--fail-on", "refused"), 1),
        (("--fail-on", "passed"), 1),
        (("--fail-on", "depends"), 1),
        (("--fail-on", "any"), 1),
        (("--fail-on", "changed"), 0),
        (("--fail-on", "changed", "--fail-on", "any"), 1),
        (("--fail-on", "nonsense"), 2),
        (("--since", "nonsense"), 2),
        (("--since", "2027-01-01", "--fail-on", "any"), 0),
        (("--sandbox", "other", "--fail-on", "any"), 0),
        (("--name", "other"), 2),
    ],
)
def test_exit_codes(outgate: Any, log: Path, options: tuple[str, ...], code: int) -> None:
    result = outgate("replay", str(log), "--policy", "web.yaml", *options)
    assert result.code == code
    assert ("error: " in result.err or "Error: " in result.err or "error" in result.err.lower()) == (code == 2)


def test_json_has_every_group(outgate: Any, log: Path) -> None:
    found = json.loads(outgate("replay", str(log), "--policy", "web.yaml", "--json").out)
    assert found["totals"] == {"refused": 2, "passed": 1, "depends": 1, "changed": 0, "unjudged": 1, "unchanged": 2}
    assert found["judged"] == 7
    assert found["policies"][0]["name"] == "web"
    assert found["log"]["events"] == 7
    group = next(each for each in found["groups"] if each["outcome"] == "passed")
    assert group["before"]["reason"] == "host_not_allowed"
    assert group["after"]["rule"] == "docs"
    assert group["request"] == {
        "method": "GET",
        "scheme": "https",
        "host": "docs.example.com",
        "port": 443,
        "path": "/b",
    }
    assert group["first"] == group["last"] == "2026-11-20T10:00:00Z"
    assert group["example"]["request"] == "GET https://docs.example.com/b"


def test_markdown_shows_nothing_of_a_log_as_markup(outgate: Any, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(passed("x|y", url="https://gone.example/<b>@me|[x](https://e.example)`#1")))
    out = outgate("replay", "a.jsonl", "--policy", "web.yaml", "--format", "markdown").out
    assert out.startswith("### Replay of the audit log\n")
    row = next(line for line in out.splitlines() if line.startswith("| 1 "))
    assert row.count("|") == 8
    for bad in ("<b>", "@me", "](", "`", "https://"):
        assert bad not in row


def test_hostile_text_reaches_no_terminal(outgate: Any, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(passed("r\x1b[2J\n", url="https://gone.example/", id="\x9b31m")))
    result = outgate("replay", "a.jsonl", "--policy", "web.yaml")
    assert result.code == 0
    assert all(char == "\n" or char.isprintable() for char in result.out + result.err)


def test_damaged_lines_are_counted_and_the_first_named(outgate: Any, folder: Path) -> None:
    data = LOG + b"{\n" * 9 + b"\xff\n"
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(data))
    result = outgate("replay", "a.jsonl.gz", "--policy", "web.yaml")
    assert result.code == 0
    assert result.err.splitlines()[:2] == ["warning: skipped 10 damaged or foreign lines", "  a.jsonl.gz:8: not JSON"]
    assert result.err.splitlines()[-1] == "  and 5 more"
    found = json.loads(outgate("replay", "a.jsonl.gz", "--policy", "web.yaml", "--json").out)
    assert (found["log"]["skipped"], len(found["log"]["skipped_first"])) == (10, 5)


def test_several_candidates_stand_in_for_their_names(outgate: Any, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(event(policy="web"), event(policy="other"), event(policy="third")))
    found = json.loads(outgate("replay", "a.jsonl", "--policy", "both", "--json").out)
    assert (found["totals"]["refused"], found["other_policies"]) == (2, 1)
    found = json.loads(outgate("replay", "a.jsonl", "--policy", "both", "--name", "other", "--json").out)
    assert (found["totals"]["refused"], found["other_policies"]) == (3, 0)


@pytest.mark.parametrize("arguments", [("missing.jsonl", "--policy", "web.yaml"), ("web.yaml", "--policy", "missing")])
def test_what_is_not_there_is_told(outgate: Any, folder: Path, arguments: tuple[str, ...]) -> None:
    result = outgate("replay", *arguments)
    assert result.code == 2
    assert "error: missing" in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize("command", [("replay", "--policy", "web.yaml", "--fail-on", "any"), ("suggest",)])
def test_what_is_no_audit_log_at_all_is_an_error(outgate: Any, folder: Path, command: tuple[str, ...]) -> None:
    """Not good news: nothing of it was judged."""
    (folder / "notes.txt").write_bytes(b"not\xff\x00a log\n" * 3)

    result = outgate(*command, "notes.txt")

    assert (result.code, result.out) == (2, "")
    assert "error: notes.txt: no line of it is an audit event\nhint: name a state folder" in result.err


def test_a_state_folder_has_the_logs_of_runs(outgate: Any, log: Path) -> None:
    run = log / "runs" / "20261120T100000Z-agent" / "audit"
    run.mkdir(parents=True)
    (run / "worker-0.000000000009.jsonl.gz").write_bytes(gzip.compress(LOG))

    assert "14 events decided again" in outgate("replay", str(log), "--policy", "web.yaml").out
