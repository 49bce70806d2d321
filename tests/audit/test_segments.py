"""Files of a log: closed, compressed and continued without losing, repeating or reordering a line, whatever happens."""

import gzip
import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import chained as chained_module
from proxy.audit import files, keeper
from proxy.audit.chained import ChainedLog
from proxy.audit.policy import PolicyLog, policy_records
from proxy.audit.sink import encode
from proxy.errors import ConfigError
from proxy.policy.rules import Policy
from proxy.review.log import Log
from tests.audit.logs import SMALL, Logs, events_in, full_log, numbered


def ids(logs: Logs) -> list[int]:
    """The events of the log, as its readers see them."""
    log = Log([str(logs.state.root)])
    found = [int(each.id) for each in log]
    assert log.skipped == 0, log.named
    return found


def names(logs: Logs) -> list[str]:
    return sorted(path.name for path in logs.folder.iterdir())


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs.at(tmp_path / "state")


def test_a_file_is_closed_at_its_size_and_its_name_says_where_it_begins(logs: Logs) -> None:
    logs.write(12)
    assert names(logs) == ["worker-0.000000000001.jsonl", "worker-0.000000000006.jsonl", "worker-0.jsonl"]
    assert ids(logs) == list(range(1, 13))
    assert [event["seq"] for event in events_in(logs.closed()[1])] == [6, 7, 8, 9, 10]
    assert logs.closed()[0].stat().st_mode & 0o777 == 0o600


def test_a_file_is_closed_at_its_age_with_the_next_event(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(chained_module.time, "monotonic", lambda: now)
    log = ChainedLog(logs.folder, "worker-0", files.Options(max_age=60.0))
    for each, elapsed in zip(numbered(1, 4), (0, 59, 1, 0), strict=True):
        now += elapsed
        log.write(encode(each))
    log.close()
    assert [len(events_in(path)) for path in [*logs.closed(), logs.folder / "worker-0.jsonl"]] == [2, 2]


def test_age_counts_over_a_restart_and_a_time_that_is_not_over_counts_as_now(logs: Logs) -> None:
    day = replace(SMALL, max_age=86400.0)
    old, new = (
        {**event, "time": time} for event, time in zip(numbered(1, 2), ("2020-01-01", "2999-01-01"), strict=True)
    )
    for event in (old, new, new):
        log = ChainedLog(logs.folder, "worker-0", day)
        log.write(encode({**event, "time": f"{event['time']}T00:00:00.000+00:00"}))
        log.close()
    assert [len(events_in(path)) for path in [*logs.closed(), logs.folder / "worker-0.jsonl"]] == [1, 2]


def test_a_clock_that_jumps_back_changes_no_name_and_no_order(logs: Logs) -> None:
    log = ChainedLog(logs.folder, "worker-0", SMALL)
    for year, each in zip(range(2040, 2010, -1), numbered(1, 30), strict=True):
        log.write(encode({**each, "time": f"{year}-01-01T00:00:00.000+00:00"}))
    log.close()
    assert ids(logs) == list(range(1, 31))
    logs.sign()
    assert logs.verify().verdict == "intact"


@pytest.mark.parametrize("point", ["open_append", "hardlink_to", "replace"])
def test_a_disk_that_is_full_while_a_file_is_closed_loses_nothing(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, point: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    log = ChainedLog(logs.folder, "worker-0", SMALL)
    written = [encode(each) for each in numbered(1, 12)]
    with monkeypatch.context() as broken:
        broken.setattr(files if point == "open_append" else Path, point, full)
        for line in written[:8]:
            log.write(line)
    assert "could not be rotated" in "".join(capsys.readouterr())  # where messages go is another's to say
    assert names(logs) == ["worker-0.jsonl"]
    monkeypatch.setattr(chained_module.time, "monotonic", lambda: math.inf)  # time for another try
    log.write(written[8])
    log.close()
    assert names(logs) == ["worker-0.000000000001.jsonl", "worker-0.jsonl"]
    assert ids(logs) == list(range(1, 10))


def test_a_writer_that_dies_between_the_two_names_is_continued(logs: Logs) -> None:
    logs.write(3)
    live = logs.folder / "worker-0.jsonl"
    (logs.folder / "worker-0.000000000001.jsonl").hardlink_to(live)
    assert ids(logs) == [1, 2, 3]
    logs.write(4, first=4)
    assert ids(logs) == list(range(1, 8))
    assert names(logs) == ["worker-0.000000000001.jsonl", "worker-0.jsonl"]
    logs.sign()
    assert logs.verify().verdict == "intact"


@pytest.mark.parametrize("compressed", [False, True])
def test_the_chain_goes_on_where_the_last_file_was_closed(logs: Logs, compressed: bool) -> None:
    logs.write(6)
    if compressed:
        keeper.compress(logs.folder)
    (logs.folder / "worker-0.jsonl").unlink()
    logs.write(1, first=6)
    assert [event["seq"] for event in events_in(logs.folder / "worker-0.jsonl")] == [6]
    logs.sign()
    assert logs.verify().verdict == "intact"


def test_a_closed_file_that_cannot_be_read_stops_who_needs_it(logs: Logs) -> None:
    logs.write(5)
    path = logs.folder / "worker-0.000000000001.jsonl.gz"
    path.write_bytes(gzip.compress((logs.folder / "worker-0.jsonl").read_bytes())[:-9])
    (logs.folder / "worker-0.jsonl").unlink()
    with pytest.raises(ConfigError, match="cannot read the audit log"):
        logs.write(1)


# --- half lines ---


def tear(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("half", [b'{"v":1,"id":"0', b"x", b"\0" * 200_000], ids=["event", "x", "zeros"])
def test_half_a_line_is_owned_up_to(logs: Logs, half: bytes) -> None:
    logs.write(2)
    live = logs.folder / "worker-0.jsonl"
    tear(live, half)
    logs.sign()
    report = logs.verify()
    assert (report.verdict, report.chains[0].unfinished) == ("intact", f"{live}:3")
    logs.write(1, first=3)
    logs.sign()
    report = logs.verify()
    assert (report.verdict, report.chains[0].torn) == ("intact", [f"{live}:3"])
    assert json.loads(live.read_bytes().splitlines()[3])["type"] == "torn"
    whole = live.read_bytes()
    for changed in (whole.replace(half + b"\n", b""), whole.replace(half, half[1:] + b"y")):
        live.write_bytes(changed)
        assert logs.verify().verdict == "not intact"


@pytest.mark.parametrize("half", [b'{"v":1,', b"\0" * 2_000_000], ids=["event", "zeros"])
def test_half_a_line_that_begins_a_file_changes_no_name(logs: Logs, half: bytes) -> None:
    logs.write(5)
    log = ChainedLog(logs.folder, "worker-0", SMALL)
    log._close_file()
    log.close()
    tear(logs.folder / "worker-0.jsonl", half)
    for first in range(6, 15):
        logs.write(1, first=first)  # a writer of its own each
    logs.sign()
    assert [int(path.name.split(".")[1]) for path in logs.closed()][:2] == [1, 6]
    assert logs.verify().verdict == "intact"


def test_a_line_without_its_line_break_is_a_whole_one(logs: Logs) -> None:
    logs.write(2)
    live = logs.folder / "worker-0.jsonl"
    live.write_bytes(live.read_bytes()[:-1])
    logs.write(1, first=3)
    logs.sign()
    assert ids(logs) == [1, 2, 3]
    report = logs.verify()
    assert (report.verdict, report.chains[0].torn) == ("intact", [])


def test_half_a_checkpoint_is_owned_up_to(logs: Logs) -> None:
    logs.write(1)
    logs.sign()
    tear(logs.folder / "checkpoints.jsonl", b'{"v":1,"ty')
    assert logs.verify().verdict == "intact"
    logs.write(1)
    logs.sign()
    report = logs.verify()
    assert (report.verdict, len(report.signed.torn), report.signed.count) == ("intact", 1, 2)
    path = logs.folder / "checkpoints.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"v":1,"ty\n', b""))
    assert logs.verify().verdict == "not intact"


# --- compression ---


def test_closed_files_are_compressed_and_keep_their_time(logs: Logs) -> None:
    logs.write(12)
    os.utime(logs.closed()[0], (1_000_000, 1_000_000))
    plain = [path.read_bytes() for path in logs.closed()]
    keeper.compress(logs.folder)
    assert [gzip.decompress(path.read_bytes()) for path in logs.closed()] == plain
    assert logs.closed()[0].stat().st_mtime == 1_000_000
    assert logs.closed()[0].stat().st_mode & 0o777 == 0o600
    assert ids(logs) == list(range(1, 13))


@pytest.mark.parametrize("point", ["fsync", "replace"])
def test_a_disk_that_is_full_while_a_file_is_compressed_leaves_it_plain(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def full(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    logs.write(12)
    before = names(logs)
    with monkeypatch.context() as broken:
        broken.setattr(os if point == "fsync" else Path, point, full)
        keeper.compress(logs.folder)
    assert names(logs) == before
    keeper.compress(logs.folder)
    assert len(list(logs.folder.glob("*.gz"))) == 2


def test_compression_that_died_is_done_again(logs: Logs) -> None:
    logs.write(12)
    first, second = logs.closed()
    (logs.folder / f".{first.name}.draft").write_bytes(b"half of it")
    plain = second.read_bytes()
    keeper.compress(logs.folder)
    second.write_bytes(plain)  # died before the plain file was removed
    assert ids(logs) == list(range(1, 13))
    keeper.compress(logs.folder)
    assert names(logs) == [f"{first.name}.gz", f"{second.name}.gz", "worker-0.jsonl"]
    assert ids(logs) == list(range(1, 13))


def test_the_file_closed_last_waits_for_its_successor_to_have_a_line(logs: Logs) -> None:
    logs.write(5)
    (logs.folder / "worker-0.jsonl").rename(logs.folder / "worker-0.000000000001.jsonl")
    (logs.folder / "worker-0.jsonl").touch()
    keeper.compress(logs.folder)
    assert [path.suffix for path in logs.closed()] == [".jsonl"]


# --- readers beside writers ---


def rotate(logs: Logs) -> None:
    logs.write(5, first=13)


@pytest.mark.parametrize("meanwhile", [lambda logs: keeper.compress(logs.folder), rotate])
def test_a_reader_that_has_begun_misses_nothing_that_was_there(logs: Logs, meanwhile: Callable[[Logs], None]) -> None:
    logs.write(12)
    log = Log([str(logs.state.root)])
    meanwhile(logs)
    found = [int(each.id) for each in log]
    assert found[:12] == list(range(1, 13))
    assert len(found) == len(set(found))
    assert log.skipped == 0


def test_a_log_verifies_while_it_is_written_closed_and_compressed(logs: Logs) -> None:
    def work() -> None:
        log = ChainedLog(logs.folder, "worker-0", SMALL)
        for number, each in enumerate(numbered(1, 600)):
            log.write(encode(each))
            if number % 50 == 0:
                logs.sign()
            if number % 20 == 0:
                keeper.compress(logs.folder)
        log.close()

    logs.sign()
    writer = threading.Thread(target=work)
    writer.start()
    found = []
    while writer.is_alive() or not found:
        found.append(logs.verify())
    writer.join()
    assert [report.problems for report in found if report.verdict != "intact"] == []
    logs.sign()
    assert logs.verify().verdict == "intact"


# --- what is verified ---


def test_a_log_of_a_version_without_chain_is_not_covered(logs: Logs) -> None:
    live = logs.folder / "worker-0.jsonl"
    live.write_bytes(b"".join(encode(each) for each in numbered(1, 3)))
    logs.sign()
    report = logs.verify()
    assert (report.verdict, report.chains[0].uncovered) == ("not covered", 3)
    logs.write(2, first=4)
    logs.sign()
    report = logs.verify()
    assert (report.verdict, report.chains[0].uncovered, report.chains[0].last) == ("not covered", 3, 2)


def test_files_with_other_names_are_not_covered(logs: Logs) -> None:
    logs.write(2)
    logs.sign()
    (logs.folder / "worker-0.jsonl.1").write_bytes(b"{}\n")
    report = logs.verify()
    assert (report.verdict, report.strangers) == ("not covered", [str(logs.folder / "worker-0.jsonl.1")])


def test_the_oldest_files_may_be_gone_if_that_is_said_and_a_checkpoint_vouches_for_the_rest(tmp_path: Path) -> None:
    logs = full_log(tmp_path / "state")
    for path in logs.closed()[:2]:
        path.unlink()
    assert logs.verify().verdict == "not intact"
    report = logs.verify(pruned=True)
    assert (report.verdict, report.chains[0].first, report.chains[0].vouched) == ("intact", 11, 22)
    logs.closed()[1].unlink()
    assert logs.verify(pruned=True).verdict == "not intact"


def test_the_record_of_policies_has_a_chain_too(logs: Logs) -> None:
    record = PolicyLog(logs.folder)
    policies = {"a": Policy(name="a", digest="1"), "b": Policy(name="b", digest="2")}
    record.write(policy_records({}, policies, "start"))
    record.write(policy_records(policies, {}, "file"))
    logs.sign()
    report = logs.verify()
    assert [(chain.log, chain.last, chain.vouched) for chain in report.chains] == [("policy", 4, 4)]
    path = logs.folder / "policy.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"removed"', b'"loaded"'))
    assert logs.verify().verdict == "not intact"


def test_what_is_forced_to_the_disk(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []

    def note(name: str, real: Callable[[int], None]) -> Callable[[int], None]:
        def forcing(fd: int) -> None:
            forced.append(f"{name} {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}")  # noqa: PTH115, PTH119
            real(fd)

        return forcing

    assert threading.active_count() == 1  # what another test left running would be noted, too
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, note(name, getattr(os, name)))
    logs.write(2)
    assert forced == []
    logs.write(1, options=replace(SMALL, sync="always"))
    assert forced == ["fdatasync worker-0.jsonl"]
    logs.sign()
    assert "fsync worker-0.jsonl" in forced
