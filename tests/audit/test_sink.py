"""The audit files: one event per exchange, also when the disk is full or the worker died."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import sink
from proxy.audit.event import event_of
from proxy.audit.sanitise import sanitise
from proxy.audit.sink import AuditSink, AuditUnavailable, recover
from proxy.errors import ConfigError
from proxy.exchange import Exchange, new_id
from proxy.policy.decide import Decision
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy


def exchange(path: str = "/") -> Exchange:
    made = Exchange(sandbox="s", policy=Policy(name="p", digest="d"), method="GET", path=path)
    made.decision = Decision(allowed=True, reason=Reason.ALLOWED, rule="r")
    return made


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "worker-0.jsonl").read_bytes().splitlines()]


def test_one_event_per_exchange_however_often_it_ends(tmp_path: Path) -> None:
    log, one = AuditSink(tmp_path, 0), exchange()
    log.begin(one)
    one.end = "complete"
    log.finish(one)
    one.end = "aborted"
    log.finish(one)
    assert [event["end"] for event in events(tmp_path)] == ["complete"]
    assert recover(tmp_path, 0) == 0


def test_what_a_dead_worker_left_in_flight_gets_its_event(tmp_path: Path) -> None:
    log, ended, running = AuditSink(tmp_path, 0), exchange("/ended"), exchange("/running")
    log.begin(ended)
    log.begin(running)
    log.open_event(running)
    ended.end = "complete"
    log.finish(ended)
    (tmp_path / "worker-0.journal").open("ab").write(b'{"id": "half a li')
    assert recover(tmp_path, 0) == 1
    assert [(event["path"], event["end"]) for event in events(tmp_path)] == [
        ("/running", "open"),
        ("/ended", "complete"),
        ("/running", "crashed"),
    ]
    assert recover(tmp_path, 0) == 0


def test_an_event_that_was_written_before_the_death_is_not_written_again(tmp_path: Path) -> None:
    log, one = AuditSink(tmp_path, 0), exchange()
    log.begin(one)
    journal = (tmp_path / "worker-0.journal").read_bytes()
    one.end = "complete"
    log.finish(one)
    (tmp_path / "worker-0.journal").write_bytes(journal)  # died between event and journal
    assert recover(tmp_path, 0) == 0
    assert len(events(tmp_path)) == 1


def test_a_full_disk_refuses_what_would_begin_and_keeps_what_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, one = AuditSink(tmp_path, 0), exchange()
    log.begin(one)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(sink, "_write", full)
        one.end = "complete"
        log.finish(one)
        with pytest.raises(AuditUnavailable):
            log.begin(exchange())
    assert events(tmp_path) == []
    log.begin(exchange())
    assert [event["id"] for event in events(tmp_path)] == [one.id]


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = AuditSink(tmp_path, 0), os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
        log.finish(exchange("/first"))
    assert (tmp_path / "worker-0.jsonl").read_bytes() == b""
    log.finish(exchange("/second"))
    assert [event["path"] for event in events(tmp_path)] == ["/first", "/second"]


def test_a_line_that_an_earlier_run_left_unfinished_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "worker-0.jsonl").write_bytes(b'{"half": ')
    AuditSink(tmp_path, 0).finish(exchange())
    assert json.loads((tmp_path / "worker-0.jsonl").read_bytes().splitlines()[1])["v"] == 1


def test_a_folder_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("")
    with pytest.raises(ConfigError, match="audit log"):
        AuditSink(tmp_path / "audit", 0)


def test_hostile_text_cannot_break_a_line_or_a_terminal(tmp_path: Path) -> None:
    one = exchange("/\r\n{}\x1b[31m\u202e\u2028\udc80" + "x" * 9000)
    AuditSink(tmp_path, 0).finish(one)
    raw = (tmp_path / "worker-0.jsonl").read_bytes()
    assert raw.count(b"\n") == 1
    path = events(tmp_path)[0]["path"]
    assert path.isprintable()
    assert len(path) <= 2048


@pytest.mark.parametrize(("text", "safe"), [("plain", "plain"), ("ü", "ü"), ("a\nb", "a\\nb"), ("\x7f", "\\x7f")])
def test_sanitise(text: str, safe: str) -> None:
    assert sanitise(text) == safe


def test_the_event_holds_no_query(tmp_path: Path) -> None:
    one = exchange("/x")
    one.query_keys = ("key",) * 100
    event = event_of(one)
    assert event["query_keys"] == ["key"] * 32


def test_ids_sort_by_time_and_are_ulids() -> None:
    first, second = new_id(), new_id()
    assert len(first) == 26
    assert first[:10] <= second[:10]
    assert first != second
