"""The record of policies: its keys are those of the document, and it says what a change did to each policy."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.policy import PolicyLog, policy_records
from proxy.policy.rules import Policy

DOCUMENT = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
A, A2, B = (Policy(name=name, digest=digest, source="p.yaml") for name, digest in (("a", "1"), ("a", "2"), ("b", "3")))


def changes(*arguments: Any, **named: Any) -> list[tuple[object, ...]]:
    keys = ("policy", "result", "old_digest", "new_digest")
    return [tuple(record[key] for key in keys) for record in policy_records(*arguments, **named)]


def test_the_document_has_a_row_for_every_key_in_order() -> None:
    section = DOCUMENT.partition("\n## Policies\n")[2].partition("\n## ")[0]
    (record,) = policy_records({}, {"a": A}, "start")
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(record)
    for result in ("loaded", "reloaded", "removed", "kept"):
        assert f"`{result}`" in section


def test_each_policy_before_and_after_has_its_line() -> None:
    assert changes({}, {"a": A}, "start") == [("a", "loaded", None, "1")]
    assert changes({"a": A}, {"a": A2, "b": B}, "file") == [("a", "reloaded", "1", "2"), ("b", "loaded", None, "3")]
    assert changes({"a": A, "b": B}, {"a": A}, "SIGHUP") == [("a", "reloaded", "1", "1"), ("b", "removed", "3", None)]
    assert changes({"a": A}, None, "file", error="x") == [("a", "kept", "1", None)]
    assert changes({"a": A}, {"a": A2}, "file", error="x") == [("a", "kept", "1", "2")]


def test_a_line_names_the_owner_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("x")
    (record,) = policy_records({}, {"a": Policy(name="a", source=str(tmp_path / "p.yaml"))}, "start")
    (file,) = json.loads(json.dumps(record["files"]))
    assert (file["path"], file["uid"]) == (str(tmp_path / "p.yaml"), os.getuid())
    (gone,) = policy_records({}, {"a": Policy(name="a", source=str(tmp_path / "gone.yaml"))}, "start")
    assert json.loads(json.dumps(gone["files"]))[0]["uid"] is None


def test_what_waits_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    it = PolicyLog(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("proxy.audit.policy.append", full)
        it.note(policy_records({}, {"a": A}, "start"))
        assert not it.catch_up()
    it.write(policy_records({"a": A}, {"a": A2}, "file"))
    lines = [json.loads(line) for line in (tmp_path / "policy.jsonl").read_bytes().splitlines()]
    assert [line["result"] for line in lines] == ["loaded", "reloaded"]
    assert it.catch_up()
    assert (tmp_path / "policy.jsonl").stat().st_mode & 0o777 == 0o600
