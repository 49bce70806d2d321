"""Events on standard output: whole lines from several processes, and no waiting for whoever reads them."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.audit import stdout
from proxy.audit.files import Options
from proxy.audit.sink import AuditSink, AuditUnavailable, recover
from proxy.audit.stdout import StandardOutput
from tests.audit.test_sink import exchange


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    stdout.prepare(writer)
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        os.close(fd)


def drain(fd: int) -> bytes:
    """All that is in the pipe."""
    parts = []
    try:
        while part := os.read(fd, 1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def fill(output: StandardOutput, line: bytes) -> int:
    """Write lines until the pipe takes no more; how many it took."""
    for count in range(100_000):
        try:
            output.write(line)
        except OSError:
            return count
    raise AssertionError("the pipe never was full")


@pytest.mark.parametrize("size", [300, 30_000])
def test_a_full_pipe_refuses_and_loses_nothing(tmp_path: Path, pipe: tuple[int, int], size: int) -> None:
    reader, writer = pipe
    output = StandardOutput(tmp_path / "lock", writer)
    line = b"x" * size + b"\n"
    count = fill(output, line)
    data = drain(reader)
    while True:
        try:
            output.write(line)  # the same one, as it is given again
            break
        except OSError:
            data += drain(reader)
    assert data + drain(reader) == line * (count + 1)


def test_a_long_line_that_is_half_out_keeps_the_others_back(tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    one, other = (StandardOutput(tmp_path / "lock", writer) for _ in range(2))
    long, short = b"x" * 200_000 + b"\n", b"y\n"
    with pytest.raises(OSError, match="unavailable"):
        one.write(long)
    data = drain(reader)
    with pytest.raises(OSError, match="busy"):
        other.write(short)
    while True:
        try:
            one.write(long)
            break
        except OSError:
            data += drain(reader)
    other.write(short)
    assert data + drain(reader) == long + short


def test_a_writer_that_dies_within_a_line_spoils_no_other(tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    dead, other = (StandardOutput(tmp_path / "lock", writer) for _ in range(2))
    with pytest.raises(OSError, match="unavailable"):
        dead.write(b"x" * 200_000 + b"\n")
    data = drain(reader)
    dead.close()  # as the kernel does
    other.write(b"y\n")
    other.write(b"z\n")
    data += drain(reader)
    assert data.lstrip(b"x") == b"\ny\nz\n"


def test_lines_of_several_writers_stay_whole(tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(reader, True)
    os.set_blocking(writer, True)

    def write(mark: bytes) -> None:
        output = StandardOutput(tmp_path / "lock", writer)
        for size in (10, 5000, 100, 9000) * 10:
            line = mark * size + b"\n"
            while True:
                try:
                    output.write(line)
                    break
                except OSError:
                    continue
        output.close()

    threads = [threading.Thread(target=write, args=(mark,)) for mark in (b"a", b"b")]
    for thread in threads:
        thread.start()
    data = b""
    while data.count(b"\n") < 80:
        data += os.read(reader, 1 << 16)
    for thread in threads:
        thread.join()
    assert {len(set(line)) for line in data.splitlines()} == {1}


def test_a_worker_whose_output_is_closed_forwards_nothing_and_its_journal_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(StandardOutput.__init__, "__defaults__", (writer,))
    options = Options(stdout=True)
    sink, one = AuditSink(tmp_path, 0, options), exchange("/one")
    sink.begin(one)
    os.close(reader)
    sink.finish(one)
    with pytest.raises(AuditUnavailable, match="Broken pipe"):
        sink.begin(exchange("/two"))
    with pytest.raises(AuditUnavailable):
        recover(tmp_path, 1, options) or recover(tmp_path, 0, options)
    os.close(writer)
    reader, writer = os.pipe()
    monkeypatch.setattr(StandardOutput.__init__, "__defaults__", (writer,))
    assert recover(tmp_path, 0, options) == 1
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        (event,) = map(json.loads, lines)
    assert (event["path"], event["end"]) == ("/one", "crashed")
    assert not list(tmp_path.glob("*.jsonl"))
