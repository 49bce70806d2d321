"""What scans found in closed files is found again, is the same, and is never believed over the file."""

import gzip
import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from proxy.insight import logs, shelf, traffic
from proxy.insight.denied import denied
from proxy.insight.logs import reading
from proxy.insight.new import new
from proxy.insight.overview import Wanted, overview
from proxy.insight.scan import NOT_OURS, Scan, Since
from tests.insight.test_review import DAY, LLM, at, month
from tests.review.events import lines, passed, refused

START = datetime(2026, 11, 20, 10)  # noqa: DTZ001  times of a scan have no zone


@cache
def events() -> list[dict[str, Any]]:
    """A month with what only some events have: other worker's ends, deaths, cost that was said, refusals."""
    died = at(3, url="https://died.example/", bytes_out=5)
    long = at(9, url="https://long.example/", bytes_out=5)
    odd = [
        {**died, "end": "crashed", "duration_ms": None},
        {**long, "end": "open", "duration_ms": 60_000.0},
        {**long, "duration_ms": 5 * DAY * 1000.0},
        at(4, "POST", "https://llm.example/", llm={**LLM, "cost_usd": 0.1}, bytes_out=(1 << 63) - 1),
        at(5, "POST", "https://llm.example/", llm={**LLM, "cost_usd": 0.2}, bytes_out=(1 << 63) - 1),
        *(refused("host_not_allowed", url="https://evil.example/", at=day * DAY, id=f"{day:026}") for day in range(27)),
    ]
    return sorted([*month(), *odd, died], key=lambda each: str(each["time"]))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with a log of four closed files, one of them with damage, and one that is written."""
    monkeypatch.setattr(shelf, "LEAST", 0)
    folder = tmp_path / "state" / "audit"
    folder.mkdir(parents=True, mode=0o700)
    every = events()
    for number in range(5):
        text = lines(*every[number::5]) + (b"damage\n" if number == 3 else b"")
        name = "worker-4.jsonl" if number == 4 else f"worker-{number}.{1:012}.jsonl{'.gz' * (number % 2)}"
        (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return folder.parent


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read for a scan."""
    seen: list[str] = []
    original = logs.Logs._read

    def noting(self: logs.Logs, sql: str, files: Any, share: tuple[int, int, int]) -> None:
        seen.extend(file.name.rpartition("/")[2] for file in files)
        original(self, sql, files, share)

    monkeypatch.setattr(logs.Logs, "_read", noting)
    return seen


def told(state: Path, kept: Path | None, wanted: Wanted) -> list[Any]:
    """All that the commands are made of. Dollars are left out: their sum depends on the order, in the last places."""
    with reading([str(state)], None, kept) as log:
        seen = overview(log, wanted)
        found = [
            log.ask("SELECT * EXCLUDE (usd, low, high) FROM main ORDER BY ALL"),
            log.ask("SELECT * EXCLUDE (usd, low, high) FROM hours ORDER BY ALL"),
            log.ask("SELECT * EXCLUDE (usd, low, high) FROM rules ORDER BY ALL"),
        ]
        found += [[seen.first, seen.last, seen.recent, traffic.totals(seen)], log.facts()]
        found += [new(log, wanted, wanted.since), log.facts(), denied(log, wanted, date(2026, 11, 20)), log.facts()]
    return found


WANTED = [
    Wanted(),
    Wanted(sandboxes=("one", "two"), policies=("watch", "other")),
    Wanted(since=START + timedelta(days=13.7)),
]


def test_every_answer_is_the_same_with_and_without_it(state: Path) -> None:
    for wanted in WANTED:
        plain = told(state, None, wanted)
        assert plain[4]["skipped"] == 1
        assert told(state, state, wanted) == plain
    assert (state / shelf.FOLDER).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (state / shelf.FOLDER).iterdir()} == {0o600}
    assert len(list((state / shelf.FOLDER).iterdir())) == 3 * 4  # three questions, whatever the options


COUNT = Scan({"host": "host"}, {"main": ["host"]}, {"sent": "sum(bytes_out)"}, NOT_OURS)


def asked(state: Path) -> int:
    """How many events there are."""
    with reading([str(state)], None, state) as log:
        log.scan(COUNT)
        return int(log.facts()["events"])


def closed() -> Iterator[str]:
    yield from (f"worker-{number}.{1:012}.jsonl{'.gz' * (number % 2)}" for number in range(4))


def test_what_is_there_is_not_read_again_and_what_grows_is(state: Path, read: list[str]) -> None:
    first = asked(state)
    assert read[:5] == [*closed(), "worker-4.jsonl"]
    read.clear()
    with (state / "audit/worker-4.jsonl").open("ab") as log:
        log.write(lines(passed("r", id="Z" * 26)))
    assert asked(state) == first + 1
    # Beside it a worker's death is in the log, and how the exchange may have ended a moment before.
    assert read[0] == "worker-4.jsonl"


def test_only_files_that_the_time_divides_are_read_again(tmp_path: Path, read: list[str], state: Path) -> None:
    folder = tmp_path / "other" / "audit"
    folder.mkdir(parents=True)
    for day in range(3):
        name = f"worker-0.{day + 1:012}.jsonl"
        (folder / name).write_bytes(lines(*(at(day + n / 10, url=f"https://{n % 2}.example/") for n in range(4))))
    for since, again, count in ((None, [1, 2, 3], 12), (1, [], 8), (1.1, [2], 7), (2.2, [3], 2), (1.1, [2], 7)):
        read.clear()
        time = since and START + timedelta(days=since)
        with reading([str(folder)], None, state) as log:
            log.scan(Scan(COUNT.keys, COUNT.sets, COUNT.sums, COUNT.keep, Since(time=time), "inside"))
            assert log.facts()["events"] == count
        assert read == [f"worker-0.{number:012}.jsonl" for number in again]


def test_a_file_of_which_a_byte_was_changed_is_read_again(state: Path, read: list[str]) -> None:
    before = asked(state)
    path = state / "audit/worker-0.000000000001.jsonl"
    was, text = path.stat(), path.read_bytes()
    path.write_bytes(text.replace(b'"allow"', b'"bllow"', 1))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    read.clear()
    assert asked(state) == before - 1
    assert "worker-0.000000000001.jsonl" in read


def garbage(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-50] + b"x" * 50)


def others(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o666)


def links(folder: Path) -> None:
    for path in [*folder.iterdir()]:
        path.rename(folder.parent / path.name)
        path.symlink_to(folder.parent / path.name)


def pipes(folder: Path) -> None:
    for path in [*folder.iterdir()]:
        path.unlink()
        os.mkfifo(path, 0o600)


@pytest.mark.parametrize("harm", [garbage, others, links, pipes])
def test_what_is_damaged_or_open_to_others_is_not_used(state: Path, read: list[str], harm: Any) -> None:
    plain = asked(state)
    harm(state / shelf.FOLDER)
    read.clear()
    assert asked(state) == plain
    assert set(closed()) <= set(read)


def test_a_folder_that_is_not_ours_alone_is_not_used(state: Path, tmp_path: Path) -> None:
    folder = state / shelf.FOLDER
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    asked(state)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert shelf.folder_in(state) is None
    assert shelf.folder_in(tmp_path / "missing") is None


def test_what_was_broken_is_named_each_time(state: Path) -> None:
    path = state / "audit/worker-1.000000000001.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    for _ in range(2):
        with reading([str(state)], None, state) as log:
            log.scan(COUNT)
            assert log.broken == [str(path)]


def test_it_stays_small(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(state)
    folder = state / shelf.FOLDER
    assert len(list(folder.iterdir())) == 4
    old, *rest = sorted(folder.iterdir())
    os.utime(old, (0, 0))
    (state / "audit/worker-3.000000000001.jsonl.gz").unlink()
    with reading([str(state)], None, state) as log:
        denied(log, Wanted(), date(2026, 11, 20))
    assert not old.exists()
    assert all(path.exists() for path in rest)
    monkeypatch.setattr(shelf, "MOST", 0)
    with reading([str(state)], None, state) as log:
        new(log, Wanted(), None)
    assert list(folder.iterdir()) == []
