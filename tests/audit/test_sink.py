"""The audit files: one event per exchange, also when the disk is full or the worker died."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import files, journal, sink
from proxy.audit.event import event_of, last_line, line_of
from proxy.audit.sanitise import sanitise
from proxy.audit.sink import AuditSink, AuditUnavailable, encode, recover
from proxy.errors import ConfigError
from proxy.exchange import Exchange, new_id
from proxy.policy.decide import Decision
from proxy.policy.host import parse_host
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

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(files, "write", full)
        one.end = "complete"
        log.finish(one)
        with pytest.raises(AuditUnavailable):
            log.begin(exchange())
    assert events(tmp_path) == []
    log.begin(exchange())
    assert [event["id"] for event in events(tmp_path)] == [one.id]


class FullLog:
    """A disk that takes the lines of the journal, and none of the log; as one that has a few bytes left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        write = files.write

        def some(fd: int, line: bytes, *, sync: bool = False) -> None:
            if self.full and Path(f"/proc/self/fd/{fd}").readlink().suffix == ".jsonl":
                raise OSError(28, "No space left on device")
            write(fd, line, sync=sync)

        monkeypatch.setattr(files, "write", some)


def test_an_exchange_stays_in_the_journal_until_its_event_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, one = AuditSink(tmp_path, 0), exchange("/one")
    disk = FullLog(monkeypatch)
    log.begin(one)
    one.end = "complete"
    log.finish(one)
    disk.full = False
    assert recover(tmp_path, 0) == 1  # the worker is dead, and what it held in memory with it
    assert [(event["path"], event["end"]) for event in events(tmp_path)] == [("/one", "crashed")]


def test_closing_writes_what_waits_and_says_how_much_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullLog(monkeypatch)
    for left in (2, 0):
        disk.full = False
        log, ends = AuditSink(tmp_path, 0), (exchange("/one"), exchange("/two"))
        for one in ends:
            log.begin(one)
        disk.full = True
        for one in ends:
            one.end = "complete"
            log.finish(one)
        disk.full = bool(left)
        assert log.close() == left
    # The first two came from the journal, before anything new was begun.
    assert [event["end"] for event in events(tmp_path)] == ["crashed", "crashed", "complete", "complete"]
    assert (tmp_path / "worker-0.journal").read_bytes() == b""
    assert recover(tmp_path, 0) == 0


def test_what_a_dead_worker_owed_is_written_before_its_successor_forwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = AuditSink(tmp_path, 0)
    disk = FullLog(monkeypatch)
    dead.begin(exchange("/owed"))
    with pytest.raises(AuditUnavailable):
        recover(tmp_path, 0)
    successor = AuditSink(tmp_path, 0)
    with pytest.raises(AuditUnavailable):
        successor.begin(exchange("/too early"))
    disk.full = False
    later = exchange("/later")
    successor.begin(later)
    later.end = "complete"
    successor.finish(later)
    assert [(event["path"], event["end"]) for event in events(tmp_path)] == [
        ("/owed", "crashed"),
        ("/later", "complete"),
    ]
    assert recover(tmp_path, 0) == 0


def test_refusals_that_wait_are_bounded_and_exchanges_that_were_forwarded_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_MAX_UNWRITTEN", 2)
    log, forwarded = AuditSink(tmp_path, 0), exchange("/forwarded")
    log.begin(forwarded)
    disk = FullLog(monkeypatch)
    for number in range(5):
        log.finish(exchange(f"/refused/{number}"))
    log.finish(forwarded)
    disk.full = False
    assert log.close() == 0
    assert [event["path"] for event in events(tmp_path)] == ["/refused/0", "/refused/1", "/forwarded"]


def test_a_journal_that_cannot_be_compacted_goes_on_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_JOURNAL_SIZE", 1000)
    log, opened = AuditSink(tmp_path, 0), os.open

    def short(path: Path, *rest: int) -> int:
        if str(path).endswith(".fresh"):
            raise OSError(24, "Too many open files")
        return opened(path, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(os, "open", short)
        for _ in range(20):
            log.begin(one := exchange())
            log.finish(one)
    assert len(events(tmp_path)) == 20
    size = (tmp_path / "worker-0.journal").stat().st_size
    for _ in range(20):
        log.begin(one := exchange())
        log.finish(one)
    assert (tmp_path / "worker-0.journal").stat().st_size < size
    assert recover(tmp_path, 0) == 0


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


HOSTILE = '"\\,"verdict":"allow\u00fc\u2028\U0001f600\udc80\x00'


@pytest.mark.parametrize("text", ["", "plain", HOSTILE])
@pytest.mark.parametrize("seconds", [None, 0.0, 1e-9, 0.0123456789, 1e9])
def test_a_line_is_byte_for_byte_what_json_makes_of_it(text: str, seconds: float | None) -> None:
    one = exchange("/" + text)
    one.query_keys, one.detail, one.sandbox, one.method = (text, "b"), text, text, text
    one.host, one.port, one.status, one.credential = parse_host("api.example.com"), 443, 200, text
    one.first_byte = None if seconds is None else one.started + seconds
    for line in (line_of(one, one.started + (seconds or 0)), line_of(one, end="open")):
        assert line == encode(json.loads(line))


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_an_event_that_goes_on_from_its_journal_is_the_whole_event(text: str) -> None:
    one = exchange("/" + text)
    one.query_keys = (text,)
    begun = line_of(one, end="open")
    one.end, one.status, one.detail, one.sent = "complete", 200, text, True
    last, whole = json.loads(last_line(begun, one)), event_of(one)
    assert list(last) == list(whole)
    assert {**last, "duration_ms": 0} == {**whole, "duration_ms": 0}


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
