"""Audit logs as a stream: joined, bounded, and honest about what could not be read."""

import gzip
import io
import json
import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.review import log as log_module
from proxy.review.log import MAX_LINE, Log
from proxy.review.seen import NotAnEvent, read_event
from tests.review.events import event, lines, refused


def from_bytes(data: bytes) -> Log:
    return Log(["-"], io.BytesIO(data))


def test_each_event_of_the_writer_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "worker-0.jsonl"
    file.write_bytes(lines(event(url="https://[2001:db8::1]:8443/x?a=1&b=2"), refused("denied_by_rule", "POST")))
    log = Log([str(file)])
    one, other = list(log)
    assert (one.host and one.host.name, one.port, one.path, one.query_keys) == ("2001:db8::1", 8443, "/x", ("a", "b"))
    assert (one.observed, other.observed, other.passed, str(other.reason)) == (True, False, False, "denied_by_rule")
    assert one.url == "https://[2001:db8::1]:8443/x"
    assert (log.events, log.lines, log.skipped) == (2, 2, 0)


GOOD = lines(event())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (GOOD[:100] + b"\n", "not JSON"),
        (b"\xff\xfe{}\n", "not UTF-8"),
        (b"[]\n", "not an audit event"),
        (b"null\n", "not an audit event"),
        (b'{"level": "info"}\n', "not an audit event"),
        (b'{"ended": "01J"}\n', "not an audit event"),
        (b"[" * 100_000 + b"\n", "nested too deep"),
        (b"9" * 5000 + b"\n", "not JSON"),
        (b"x" * (MAX_LINE * 3) + b"\n", f"longer than {MAX_LINE} bytes"),
        (lines({**event(), "v": 2}), "an audit event of another version"),
        (lines({**event(), "v": True}), "an audit event of another version"),
        (lines({**event(), "verdict": "maybe"}), "the field verdict is wrong"),
        (lines({**event(), "verdict": []}), "the field verdict is wrong"),
        (lines({**event(), "reason": "because"}), "the field reason is wrong"),
        (lines({**event(), "host": "not a host"}), "the field host is wrong"),
        (lines({**event(), "port": 99999}), "the field port is wrong"),
        (lines({**event(), "port": True}), "the field port is wrong"),
        (lines({**event(), "time": "yesterday"}), "the field time is wrong"),
        (lines({**event(), "query_keys": "a"}), "the field query_keys is wrong"),
        (lines({**event(), "upstream_ip": "1.2.3"}), "the field upstream_ip is wrong"),
        (lines({**event(), "duration_ms": "1"}), "the field duration_ms is wrong"),
        (lines({key: value for key, value in event().items() if key != "path"}), "the field path is wrong"),
    ],
)
def test_a_line_that_is_no_event_is_counted_and_named_and_the_next_one_is_read(line: bytes, why: str) -> None:
    log = from_bytes(GOOD + line.rstrip(b"\n") + b"\n" + GOOD)
    assert len(list(log)) == 2
    assert (log.skipped, log.events) == (1, 2)
    assert log.named == [f"stdin:2: {why}"]


def test_a_last_line_that_is_cut_off_is_said_to_be() -> None:
    log = from_bytes(GOOD + GOOD[:80])
    assert len(list(log)) == 1
    assert log.named == ["stdin:2: not JSON; the line is cut off"]


def test_only_the_first_damaged_lines_are_named_and_all_are_counted() -> None:
    log = from_bytes(b"x\n" * 1000 + b"\n  \n")
    assert list(log) == []
    assert (log.skipped, len(log.named)) == (1000, 5)


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=40)).map(b"\n".join))
def test_no_bytes_do_more_than_be_skipped(data: bytes) -> None:
    log = from_bytes(GOOD + data.replace(b"\x1f\x8b", b"") + b"\n" + GOOD)
    events = list(log)
    assert len(events) == 2
    assert log.skipped == len([line for line in data.replace(b"\x1f\x8b", b"").split(b"\n") if line.strip()])


@given(st.dictionaries(st.sampled_from(sorted(event())), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_no_event_with_wrong_fields_does_more_than_raise_the_one_error(wrong: dict[str, object]) -> None:
    with suppress(NotAnEvent):
        read_event(json.dumps({**event(), **wrong}).encode())


# --- long exchanges ---


def test_a_long_exchange_counts_once_by_its_last_event() -> None:
    first = event(id="A", end="open", bytes_in=1)
    last = event(id="A", end="client_closed", duration_ms=90_000.0)
    for order in ([first, last], [last, first], [first, first, last]):
        log = from_bytes(lines(*order))
        assert [each.end for each in log] == ["client_closed"]
        assert log.joined == len(order) - 1


def test_a_long_exchange_that_is_still_open_counts_once() -> None:
    log = from_bytes(lines(event(id="A", end="open"), event(id="B"), event(id="A", end="open")))
    assert sorted((each.id, each.end) for each in log) == [("A", "open"), ("B", "complete")]


def test_a_crashed_exchange_and_its_first_event_count_once() -> None:
    log = from_bytes(lines(event(id="A", end="crashed", duration_ms=None), event(id="A", end="open")))
    assert [each.end for each in log] == ["crashed"]


def test_more_long_exchanges_than_are_remembered_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_LONG", 3)
    log = from_bytes(lines(*(event(id=str(number), end="open") for number in range(5))))
    assert len(list(log)) == 5
    assert log.unsure


# --- files ---


def test_folders_rotated_files_and_gzip_are_read_each_file_once(tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    audit.mkdir()
    (audit / "worker-0.jsonl").write_bytes(GOOD)
    (audit / "worker-0.jsonl.1").write_bytes(GOOD)
    (audit / "worker-1.jsonl.2.gz").write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD))
    (audit / "worker-0.journal").write_bytes(b"{}")
    (audit / ".hidden.jsonl").write_bytes(GOOD)
    for names in ([str(tmp_path)], [str(audit)], [str(tmp_path), str(audit), str(audit / "worker-0.jsonl")]):
        log = Log(names)
        assert len(list(log)) == 4
        assert len(log.files) == 3
        assert log.skipped == 0


def test_a_state_folder_is_read_with_its_runs(tmp_path: Path) -> None:
    """As `outgate serve` and `outgate run` leave them: one that is written, one that was closed, one compressed."""
    closed = {"worker-0.jsonl": GOOD, "worker-0.000000000003.jsonl": GOOD, "worker-0.000000000001.jsonl.gz": GOOD * 2}
    for folder, files in (
        ("audit", {"worker-0.jsonl": GOOD}),
        ("runs/20261120T100000Z-a/audit", closed),
        ("runs/20261121T100000Z-b/audit", {"worker-0.jsonl": GOOD, "policy.jsonl": b""}),
        ("runs/20261122T100000Z-c/audit", {}),
        ("homes/a/audit", {"worker-0.jsonl": GOOD}),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name, data in files.items():
            (tmp_path / folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    log = Log([str(tmp_path)])
    assert len(list(log)) == 6
    assert [str(Path(file).relative_to(tmp_path)) for file in log.files] == [
        "audit/worker-0.jsonl",
        "runs/20261120T100000Z-a/audit/worker-0.000000000001.jsonl.gz",
        "runs/20261120T100000Z-a/audit/worker-0.000000000003.jsonl",
        "runs/20261120T100000Z-a/audit/worker-0.jsonl",
        "runs/20261121T100000Z-b/audit/policy.jsonl",
        "runs/20261121T100000Z-b/audit/worker-0.jsonl",
    ]
    assert (log.skipped, len(list(Log([str(tmp_path / "runs/20261120T100000Z-a")])))) == (0, 4)
    assert len(list(Log([str(tmp_path), str(tmp_path / "audit"), str(tmp_path / "runs/20261121T100000Z-b")]))) == 6
    shutil.rmtree(tmp_path / "audit")
    assert len(list(Log([str(tmp_path)]))) == 5


def test_more_runs_than_files_can_be_open_are_read(tmp_path: Path) -> None:
    for number in range(300):
        folder = tmp_path / "runs" / str(number) / "audit"
        folder.mkdir(parents=True)
        (folder / "worker-0.jsonl").write_bytes(GOOD)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, most[1]))
    try:
        assert len(list(Log([str(tmp_path), str(tmp_path)]))) == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


def test_gzip_on_stdin_is_recognised() -> None:
    assert len(list(from_bytes(gzip.compress(GOOD * 3)))) == 3


def test_a_byte_order_mark_is_no_damage() -> None:
    assert len(list(from_bytes(b"\xef\xbb\xbf" + GOOD))) == 1


@pytest.mark.parametrize("cut", [20, -12, -4])
def test_damaged_compression_is_counted_and_what_came_before_is_kept(tmp_path: Path, cut: int) -> None:
    many = lines(*(event(id=str(number)) for number in range(2000)))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(many)[:cut])
    (tmp_path / "b.jsonl").write_bytes(GOOD)
    log = Log([str(tmp_path)])
    assert 1 <= len(list(log)) <= 2001
    assert log.skipped >= 1
    assert any("the rest cannot be read" in name for name in log.named)


def test_a_line_of_gigabytes_is_passed_over_in_pieces() -> None:
    class Zeros(io.RawIOBase):
        left = 1 << 28

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            size = min(self.left, size)
            self.left -= size
            return b"x" * size

    log = Log(["-"], Zeros())  # type: ignore[arg-type]
    assert list(log) == []
    assert (log.lines, log.skipped) == (1, 1)


@pytest.mark.parametrize("name", ["missing", "bad\0name", "empty"])
def test_what_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        Log([str(tmp_path / name)])
    assert caught.value.problems[0].hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.touch(0o000)
    with pytest.raises(ConfigError):
        Log([str(file)])


def test_progress_is_told_now_and_then() -> None:
    told: list[int] = []
    list(Log(["-"], io.BytesIO(b"\n" * 25_000), told.append))
    assert told == [10_000, 20_000]
