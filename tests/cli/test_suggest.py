"""`outgate suggest`: to stdout, into a new file, into a file that is there; and what it refuses to touch."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.review.events import event, lines, refused

SEEN = lines(
    event("POST", "https://api.anthropic.com/v1/messages"),
    event("GET", "https://docs.example.com/a"),
    event("GET", "https://docs.example.com/admin/x"),
    event("GET", "https://new.example/x"),
    refused("denied_by_rule", "GET", "https://bad.example/x", rule="never"),
)


@pytest.fixture
def log(folder: Path) -> str:
    (folder / "worker-0.jsonl").write_bytes(SEEN)
    return "worker-0.jsonl"


def test_a_policy_goes_to_stdout_and_passes_check(outgate: Any, folder: Path, log: str) -> None:
    result = outgate("suggest", log, "--name", "agent")
    assert (result.code, result.err) == (0, "")
    assert "# Proposed by `outgate suggest` from 4 events. Read it before you use it.\n" in result.out
    assert (
        "# Left out: refused by the deny rule never, which the policy should keep: 1 event, for example" in result.out
    )
    assert "# Look again: recognised by host, credential anthropic." in result.out
    assert "\nname: agent\n" in result.out
    (folder / "made.yaml").write_text(result.out)
    assert outgate("check", "--strict", "made.yaml").code == 0
    again = json.loads(outgate("replay", log, "--policy", "made.yaml", "--json").out)
    assert (again["totals"]["refused"], again["totals"]["passed"]) == (0, 0)


def test_output_writes_a_new_file_and_never_over_one(outgate: Any, folder: Path, log: str) -> None:
    result = outgate("suggest", log, "--output", "made.yaml")
    assert result.code == 0
    assert result.out.startswith("3 rules added to made.yaml\n")
    before = (folder / "made.yaml").read_bytes()
    again = outgate("suggest", log, "--output", "made.yaml")
    assert again.code == 2
    assert "there already" in again.err
    assert (folder / "made.yaml").read_bytes() == before


@pytest.mark.parametrize("place", ["", ".", "/", "both", "web.yaml", "missing/new.yaml", "x" * 300])
def test_what_no_new_file_can_be_is_refused(outgate: Any, log: str, place: str) -> None:
    result = outgate("suggest", log, "--output", place)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {Path(place)}: ")


@pytest.mark.parametrize("place", ["", ".", "both", "missing.yaml", "x" * 300])
def test_what_cannot_be_merged_into_is_refused_also_where_nothing_is_missing(
    outgate: Any, folder: Path, place: str
) -> None:
    (folder / "both" / "other.yaml").unlink()
    (folder / "empty.jsonl").touch()
    result = outgate("suggest", "empty.jsonl", "--merge", place)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {Path(place)}: ")


def test_more_rules_than_a_file_may_hold_are_refused_with_advice_that_helps(
    outgate: Any, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.review.suggest.MAX_BYTES", 100)
    result = outgate("suggest", log)
    assert (result.code, result.out) == (2, "")
    assert "--since or --sandbox" in result.err
    monkeypatch.setattr("proxy.review.suggest.MAX_BYTES", 1 << 20)
    monkeypatch.setattr("proxy.review.merge.MAX_BYTES", 100)
    result = outgate("suggest", log, "--merge", "web.yaml")
    assert result.code == 2
    assert "name that under `extends`" in result.err


def test_json_says_what_the_text_says(outgate: Any, folder: Path, log: str) -> None:
    found = json.loads(outgate("suggest", log, "--json").out)
    assert found["policy"] == outgate("suggest", log).out
    rule = next(each for each in found["rules"] if each["id"] == "api-anthropic-com-write")
    assert (rule["methods"], rule["paths"], rule["credential"]) == (["POST"], ["/v1/messages"], "anthropic")
    assert rule["look_again"] == ["write access: POST"]
    assert (rule["count"], rule["first"]) == (1, "2026-11-20T10:00:00Z")
    assert found["credentials"] == [{"name": "anthropic", "provider": "anthropic", "new": True}]
    assert found["left_out"][0]["count"] == 1


def test_with_the_current_policy_only_what_it_lacks_is_proposed(outgate: Any, log: str) -> None:
    found = json.loads(outgate("suggest", log, "--policy", "web.yaml", "--json").out)
    assert [rule["id"] for rule in found["rules"]] == ["new-example-read"]
    assert found["covered"] == 2
    assert "the rule no-admin denies it" in {each["why"] for each in found["left_out"]}


def test_merge_adds_what_is_missing_once_and_touches_nothing_else(outgate: Any, folder: Path, log: str) -> None:
    file = folder / "web.yaml"
    text = "# ours\n" + file.read_text().replace("deny:", "# never\ndeny:   # really")
    file.write_text(text)
    file.chmod(0o640)
    result = outgate("suggest", log, "--merge", "web.yaml")
    assert (result.code, result.out.splitlines()[0]) == (0, "1 rule added to web.yaml")
    merged = file.read_text()
    start = merged.index("  # seen once")
    stop = merged.index("# never\ndeny:")
    assert merged[:start] + merged[stop:] == text
    assert file.stat().st_mode & 0o777 == 0o640
    assert not list(folder.glob(".web*"))
    again = outgate("suggest", log, "--merge", "web.yaml")
    assert (again.code, again.out.splitlines()[0]) == (0, "nothing added to web.yaml")
    assert file.read_text() == merged


def test_merge_follows_a_link_and_what_the_file_extends(outgate: Any, folder: Path, log: str) -> None:
    base = "version: 1\nname: base\nallow:\n  - {id: new-example-read, why: w, hosts: [base.example]}\n"
    (folder / "base.yaml").write_text(base)
    (folder / "real.yaml").write_text("version: 1\nname: p\nextends: [base]\n")
    (folder / "link.yaml").symlink_to("real.yaml")
    assert outgate("suggest", log, "--merge", "link.yaml").code == 0
    assert (folder / "link.yaml").is_symlink()
    assert "- id: new-example-read-2\n" in (folder / "real.yaml").read_text()
    assert (folder / "base.yaml").read_text() == base


@pytest.mark.parametrize(
    "text",
    ["version: 1\nname: p\nallow: [{id: a, why: w, hosts: [a.example]}]\n", "{version: 1, name: p}\n", "nonsense\n"],
)
def test_a_file_that_cannot_be_merged_into_stays_as_it_was(outgate: Any, folder: Path, log: str, text: str) -> None:
    (folder / "p.yaml").write_text(text)
    result = outgate("suggest", log, "--merge", "p.yaml")
    assert result.code == 2
    assert "error: " in result.err
    assert "hint: " in result.err
    assert (folder / "p.yaml").read_text() == text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--merge", "web.yaml", "--policy", "web.yaml"),
        ("--merge", "web.yaml", "--output", "x.yaml"),
        ("--policy", "both"),
        ("--merge", "missing.yaml"),
        ("--name", "Not A Name"),
        ("--since", "soon"),
        ("--output", "no/such/folder/x.yaml"),
    ],
)
def test_misuse_is_told(outgate: Any, log: str, arguments: tuple[str, ...]) -> None:
    result = outgate("suggest", log, *arguments)
    assert result.code == 2
    assert "error: " in result.err


def test_an_empty_log_proposes_nothing_and_says_how_to_get_one(outgate: Any, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"")
    result = outgate("suggest", "a.jsonl")
    assert result.code == 0
    assert "mode: observe" in result.out
    (folder / "made.yaml").write_text(result.out)
    assert outgate("check", "made.yaml").code == 0


def test_a_log_of_rubbish_is_told_and_is_no_comment_of_the_policy(outgate: Any, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"allow: [x]\n\x1b[2J\n" + SEEN)
    result = outgate("suggest", "a.jsonl")
    assert "warning: skipped 2 damaged or foreign lines" in result.err
    assert "# Skipped, damaged or foreign: 2 lines of the log.\n" in result.out
