"""What is done to a log is found, and named. Each case changes a log that verifies; whoever does it has no key."""

import gzip
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.audit import checkpoint, key
from proxy.audit.chain import TORN, Head, Link, genesis, link_of, seal
from proxy.state import open_state
from tests.audit.logs import Logs, full_log

type Change = Callable[[Logs], object]


def lines_of(path: Path) -> list[bytes]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.splitlines(keepends=True)


def write(path: Path, lines: list[bytes]) -> None:
    data = b"".join(lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def changed(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    write(path, change(lines_of(path)))


def live(logs: Logs) -> Path:
    return logs.folder / "worker-0.jsonl"


def swapped(lines: list[bytes], one: int, other: int) -> list[bytes]:
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def relinked(lines: list[bytes], prev: bytes) -> list[bytes]:
    """The lines with the links that they would have after `prev`, as anybody can compute them."""
    made = []
    for line in lines:
        place = link(line)
        body = line[: line.rindex(b',"prev"' if place.prev else b',"seq"')] + b"}\n"
        sealed, prev = seal(body, place.seq, prev, first=place.prev is not None)
        made.append(sealed)
    return made


def edited(line: bytes) -> bytes:
    assert b"a.example" in line
    return line.replace(b"a.example", b"b.example")


def rewrite_whole_chain(logs: Logs) -> None:
    """Change the first event and make every link anew: without the key, checkpoints cannot follow."""
    prev = genesis("worker-0").value
    for path in [*logs.closed(), live(logs)]:
        lines = lines_of(path)
        lines = relinked([edited(lines[0]), *lines[1:]] if prev == genesis("worker-0").value else lines, prev)
        write(path, lines)
        prev = link(lines[-1]).value


def rewrite_and_sign_with_another_key(logs: Logs) -> None:
    rewrite_whole_chain(logs)
    own = key.load_or_create(open_state(logs.state.root.parent / "other"))
    heads = {log: Head(*last_link(logs, log)[:2]) for log in ("worker-0", "worker-1")}
    (logs.folder / checkpoint.FILE).unlink()
    checkpoint.append(logs.folder, own, heads)


def last_link(logs: Logs, log: str) -> Link:
    return link(lines_of(logs.folder / f"{log}.jsonl")[-1])


def link(line: bytes) -> Link:
    found = link_of(line)
    assert found is not None
    return found


def forge_checkpoint(logs: Logs) -> None:
    """Let the last checkpoint say what the file says after its last line was changed."""
    changed(live(logs), lambda lines: [*lines[:-1], *relinked([edited(lines[-1])], link(lines[-2]).value)])
    new = last_link(logs, "worker-0")
    path = logs.folder / checkpoint.FILE
    *kept, last = lines_of(path)
    record = json.loads(last)
    record["chains"][0]["chain"] = new.value.decode()
    path.write_bytes(b"".join([*kept, json.dumps(record, separators=(",", ":")).encode() + b"\n"]))


def hide_behind_a_torn_line(logs: Logs) -> None:
    """Cut the last event to half a line, and own up to it as recovery does."""
    lines = lines_of(live(logs))
    half = lines[-1][:40]
    record = {"v": 1, "type": TORN, "bytes": len(half), "sha256": sha256(half).hexdigest()}
    head = link(lines[-2])
    body = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    write(live(logs), [*lines[:-1], half + b"\n", seal(body, head.seq + 1, head.value)[0]])


def splice(logs: Logs) -> None:
    """Put an event of another worker in the place of one."""
    other = lines_of(logs.folder / "worker-1.jsonl")[-1]
    changed(live(logs), lambda lines: [*lines[:-1], other])


def at(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the lines of one file."""
    return lambda logs: changed(logs.folder / name, change)


def drop(pattern: str) -> Change:
    return lambda logs: [path.unlink() for path in logs.folder.glob(pattern)]


def put_for_another(logs: Logs) -> None:
    shutil.copy(logs.folder / FIRST, logs.folder / SECOND)


def take_file_of_another_log(logs: Logs) -> None:
    write(logs.folder / SECOND, lines_of(logs.folder / "worker-1.jsonl"))


def line_of_another_version(of: list[bytes]) -> list[bytes]:
    return [of[0], b'{"v":2,"id":"01J"}\n', *of[1:]]


def rename_log(logs: Logs) -> None:
    for path in logs.folder.glob("worker-0*"):
        path.rename(path.with_name(path.name.replace("worker-0", "worker-7")))


def cut_file(name: str, left: int) -> Change:
    return lambda logs: (logs.folder / name).write_bytes((logs.folder / name).read_bytes()[:left])


FIRST, SECOND, THIRD, LAST = (f"worker-0.{first:012}.jsonl.gz" for first in (1, 6, 11, 16))
LAST = LAST.removesuffix(".gz")  # closed, and not compressed yet
LIVE, SIGNED = "worker-0.jsonl", checkpoint.FILE
STRANGE, FORGED = "not a line of the chain", "the signature does not belong to it"

# What is done; where a problem is named, and what is said of it. Five lines a file: 1 to 5, 6 to 10, and so on.
CASES: dict[str, tuple[Change, str, str]] = {
    "edit a line": (at(LIVE, lambda of: [edited(of[0]), *of[1:]]), f"{LIVE}:1", "changed"),
    "edit a compressed line": (at(SECOND, lambda of: [of[0], edited(of[1]), *of[2:]]), f"{SECOND}:2", "changed"),
    "edit a link": (at(FIRST, lambda of: [of[0][:-20] + b"0000" + of[0][-16:], *of[1:]]), f"{FIRST}:1", "changed"),
    "edit a number": (
        at(FIRST, lambda of: [of[0].replace(b'"seq":1', b'"seq":2'), *of[1:]]),
        f"{FIRST}:1",
        "lines 1 to 1 are missing",
    ),
    "take a link away": (at(LIVE, lambda of: [of[0][:-77] + b"}\n", *of[1:]]), f"{LIVE}:1", STRANGE),
    "delete a line": (at(THIRD, lambda of: [of[0], *of[2:]]), f"{THIRD}:2", "lines 12 to 12 are missing"),
    "delete a first line": (at(THIRD, lambda of: of[1:]), f"{THIRD}:1", "lines 11 to 11 are missing"),
    "delete a last line": (at(THIRD, lambda of: of[:-1]), f"{LAST}:1", "lines 15 to 15 are missing"),
    "swap two lines": (at(FIRST, lambda of: swapped(of, 1, 2)), f"{FIRST}:2", "lines 2 to 2 are missing"),
    "repeat a line": (at(FIRST, lambda of: [*of, of[-1]]), f"{FIRST}:6", "line 5 stands where line 6 belongs"),
    "repeat the first line": (at(FIRST, lambda of: [of[0], *of]), f"{FIRST}:2", "line 1 stands where line 2 belongs"),
    "reorder a file": (at(SECOND, lambda of: of[::-1]), f"{SECOND}:1", "lines 6 to 9 are missing"),
    "add a line": (at(LIVE, lambda of: [*of, b'{"v":1}\n']), f"{LIVE}:3", STRANGE),
    "add an empty line": (at(LIVE, lambda of: [of[0], b"\n", *of[1:]]), f"{LIVE}:2", STRANGE),
    "add a line of a megabyte": (at(LIVE, lambda of: [of[0], b"x" * (1 << 20) + b"\n", *of[1:]]), f"{LIVE}:2", STRANGE),
    "put NUL bytes in a line": (
        at(LIVE, lambda of: [of[0][:9] + b"\0\0" + of[0][11:], *of[1:]]),
        f"{LIVE}:1",
        "changed",
    ),
    "put NUL bytes in the place of a line": (at(LIVE, lambda of: [b"\0" * 900 + b"\n", of[1]]), f"{LIVE}:1", STRANGE),
    "add NUL bytes to a closed file": (at(LAST, lambda of: [*of, b"\0" * 4096]), f"{LAST}:6", STRANGE),
    "add a line of 8 MB without end": (at(LAST, lambda of: [*of, b"x" * (8 << 20)]), f"{LAST}:6", STRANGE),
    "add a line of another version": (at(LIVE, line_of_another_version), f"{LIVE}:2", STRANGE),
    "empty a closed file": (cut_file(LAST, 0), f"{LIVE}:1", "lines 16 to 20 are missing"),
    "empty a compressed file": (cut_file(SECOND, 0), f"{THIRD}:1", "lines 6 to 10 are missing"),
    "take a file of another log": (take_file_of_another_log, f"{SECOND}:1", "line 1 stands where line 6 belongs"),
    "drop the first file": (drop(FIRST), f"{SECOND}:1", "lines 1 to 5 are missing"),
    "drop a file in the middle": (drop(SECOND), f"{THIRD}:1", "lines 6 to 10 are missing"),
    "drop the file closed last": (drop(LAST), f"{LIVE}:1", "lines 16 to 20 are missing"),
    "drop the file that is written": (drop(LIVE), f"{LAST}:5", "cut off: it ends with line 20, and line 22 was signed"),
    "drop a log": (drop("worker-1*"), f"{SIGNED}:3", "no file of worker-1 is there, and its line 5 was signed"),
    "cut off the last line": (at(LIVE, lambda of: of[:-1]), f"{LIVE}:1", "cut off: it ends with line 21"),
    "cut the last line in half": (cut_file(LIVE, -100), f"{LIVE}:2", "cut off: it ends with line 21"),
    "cut a closed file in half": (cut_file(LAST, -100), f"{LAST}:5", STRANGE),
    "empty the file that is written": (cut_file(LIVE, 0), f"{LIVE}:1", "cut off: it ends with line 20"),
    "put a file in the place of another": (put_for_another, f"{SECOND}:1", "line 1 stands where line 6 belongs"),
    "call a log another one": (rename_log, f"{SIGNED}:3", "no file of worker-0 is there"),
    "take a line of another worker": (splice, f"{LIVE}:2", "line 5 stands where line 22 belongs"),
    "rewrite the whole chain": (rewrite_whole_chain, f"{SECOND}:5", "rewritten: not the line 10 that was signed"),
    "rewrite it and sign it": (rewrite_and_sign_with_another_key, f"{SIGNED}:1", "signed with another key"),
    "hide a deletion behind half a line": (hide_behind_a_torn_line, f"{LIVE}:3", "not the line 22 that was signed"),
    "damage the compression": (cut_file(SECOND, -30), f"{SECOND}:", "the rest cannot be read: damaged compression"),
    "forge a checkpoint": (forge_checkpoint, f"{SIGNED}:3", FORGED),
    "change a time": (
        at(SIGNED, lambda of: [of[0].replace(b'"time":"2', b'"time":"1'), *of[1:]]),
        f"{SIGNED}:1",
        FORGED,
    ),
    "drop the first checkpoint": (at(SIGNED, lambda of: of[1:]), f"{SIGNED}:1", "checkpoints 1 to 1 are missing"),
    "drop one in the middle": (at(SIGNED, lambda of: [of[0], of[2]]), f"{SIGNED}:2", "checkpoints 2 to 2 are missing"),
    "repeat a checkpoint": (
        at(SIGNED, lambda of: [*of, of[2]]),
        f"{SIGNED}:4",
        "checkpoint 3 stands where checkpoint 4",
    ),
    "swap two checkpoints": (at(SIGNED, lambda of: swapped(of, 0, 1)), f"{SIGNED}:1", "checkpoints 1 to 1 are missing"),
    "add a false checkpoint": (at(SIGNED, lambda of: [of[0], b"{}\n", *of[1:]]), f"{SIGNED}:2", "not a checkpoint"),
    "drop all checkpoints": (drop(SIGNED), SIGNED, "there is no checkpoint, so nothing vouches for the log"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_done_to_a_log_is_found_and_named(tmp_path: Path, name: str) -> None:
    change, where, what = CASES[name]
    logs = full_log(tmp_path / "state")
    assert logs.verify().verdict == "intact"
    change(logs)
    report = logs.verify()
    assert report.verdict == "not intact"
    found = [(problem.where.rpartition("/")[2], problem.message) for problem in report.problems]
    place, text = found[0]  # the first that is named is the one to look at
    assert place.startswith(where), found
    assert any(part in text for part in what.split("|")), found


def test_what_nobody_signed_can_be_rewritten(tmp_path: Path) -> None:
    """The limit of all this: docs/audit.md says so. A line that was signed ends what can be changed behind it."""
    logs = full_log(tmp_path / "state")
    logs.write(2, first=23)
    live = logs.folder / LIVE
    changed(live, lambda of: [*of[:-1], *relinked([edited(of[-1])], link(of[-2]).value)])
    report = logs.verify()
    assert report.verdict == "intact"
    assert (report.chains[0].last, report.chains[0].vouched) == (24, 22)
