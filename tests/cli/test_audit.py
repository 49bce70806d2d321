"""`outgate audit`: exit codes, what is said, what JSON has; and export from files as they may be."""

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.export.parquet import SCHEMA
from proxy.audit.key import load, public_hex
from tests.audit.logs import Logs, full_log
from tests.review.events import event, lines, refused

COMMANDS = ("audit", "verify", "--state", "state")


@pytest.fixture
def logs(folder: Path) -> Logs:
    return full_log(folder / "state")


def test_an_intact_log(outgate: Any, logs: Logs) -> None:
    result = outgate(*COMMANDS)
    assert (result.code, result.err) == (0, "")
    assert "  worker-0: lines 1 to 22 in 5 files\n" in result.out
    assert "  checkpoints: 3, the last one of 20" in result.out
    assert result.out.endswith("\nintact\n")


def test_a_log_that_is_not_says_where(outgate: Any, logs: Logs) -> None:
    live = Path("state/audit/worker-0.jsonl")
    live.write_bytes(live.read_bytes().replace(b"a.example", b"b.example", 1))
    result = outgate(*COMMANDS)
    assert result.code == 1
    assert result.err == f"error: {live}:1: changed: it does not follow from the line before it\n"
    assert result.out.endswith("\nnot intact\n")
    found = json.loads(outgate(*COMMANDS, "--json").out)
    assert found["verdict"] == "not intact"
    assert found["logs"][0]["problems"] == [
        {"where": f"{live}:1", "problem": "changed: it does not follow from the line before it"}
    ]


def test_json_has_it_all(outgate: Any, logs: Logs) -> None:
    found = json.loads(outgate(*COMMANDS, "--json").out)
    assert found["public_keys"] == [public_hex(load(logs.state))]
    (log,) = found["logs"]
    assert (log["verdict"], log["checkpoints"]["count"], log["not_covered"]) == ("intact", 3, 0)
    assert [(chain["log"], chain["first"], chain["last"], chain["vouched"]) for chain in log["chains"]] == [
        ("worker-0", 1, 22, 22),
        ("worker-1", 1, 5, 5),
    ]


def test_the_key_by_its_digits_or_a_file(outgate: Any, logs: Logs, folder: Path) -> None:
    key = outgate("audit", "key", "--state", "state").out
    assert key == public_hex(load(logs.state)) + "\n"
    (folder / "key.txt").write_text(key)
    for named in (key.strip(), "key.txt"):
        assert outgate("audit", "verify", str(logs.folder), "--public-key", named).code == 0
    result = outgate(*COMMANDS, "--public-key", "0" * 64)
    assert result.code == 1
    assert f"signed with another key: {key.strip()}" in result.err
    assert outgate(*COMMANDS, "--public-key", "0" * 64, "--public-key", "key.txt").code == 0


@pytest.mark.parametrize("named", ["nonsense", "web.yaml", "bad\0name"])
def test_what_is_no_key_is_misuse(outgate: Any, logs: Logs, named: str) -> None:
    result = outgate(*COMMANDS, "--public-key", named)
    assert result.code == 2
    assert "hint: give 64 hex digits" in result.err


def test_without_a_key_or_a_log_it_is_misuse(outgate: Any, folder: Path, logs: Logs) -> None:
    (folder / "empty").mkdir(mode=0o700)
    for state in ("empty", "missing"):
        result = outgate("audit", "verify", "--state", state)
        assert (result.code, "no key to verify with" in result.err) == (2, True)
    result = outgate("audit", "verify", "--state", "empty", "--public-key", "0" * 64)
    assert (result.code, "there is no audit log" in result.err) == (2, True)


def test_named_files_are_verified_as_if_they_were_all(outgate: Any, logs: Logs, folder: Path) -> None:
    key = public_hex(load(logs.state))
    files = [str(path) for path in sorted(logs.folder.glob("*.jsonl*"))]
    assert outgate("audit", "verify", *files, "--public-key", key).code == 0
    few = [file for file in files if "worker-0.000000000001" not in file]
    result = outgate("audit", "verify", *few, "--public-key", key)
    assert (result.code, "lines 1 to 5 are missing" in result.err) == (1, True)
    assert outgate("audit", "verify", *few, "--public-key", key, "--pruned").code == 0
    (folder / "copy.log").write_bytes(b"")
    for path in ("copy.log", "worker-3.jsonl"):
        assert outgate("audit", "verify", path, "--public-key", key).code == 2


def test_the_checkpoints_of_a_folder_may_lie_elsewhere(outgate: Any, logs: Logs, folder: Path) -> None:
    key = ("--public-key", public_hex(load(logs.state)))
    copy = (logs.folder / "checkpoints.jsonl").rename(folder / "checkpoints-copy.jsonl")
    assert outgate("audit", "verify", str(logs.folder), *key).code == 1
    result = outgate("audit", "verify", str(logs.folder), str(copy), *key)
    assert (result.code, result.err) == (0, "")
    assert "  checkpoints: 3, the last one of 20" in result.out
    (logs.folder / "checkpoints.jsonl").write_bytes(b"nonsense\n")  # what lies beside the log does not count
    assert outgate("audit", "verify", str(logs.folder), str(copy), *key).code == 0
    copy.write_bytes(b"".join(copy.read_bytes().splitlines(keepends=True)[1:]))
    assert (
        "checkpoints-copy.jsonl:1: checkpoints 1 to 1 are missing"
        in outgate("audit", "verify", str(logs.folder), str(copy), *key).err
    )
    copy.unlink()
    assert outgate("audit", "verify", str(logs.folder), str(copy), *key).code == 2


def test_the_logs_of_runs_are_verified_too(outgate: Any, logs: Logs, folder: Path) -> None:
    other = folder / "state" / "runs" / "one"
    other.mkdir(parents=True)
    logs.folder.rename(other / "audit")
    result = outgate(*COMMANDS)
    assert (result.code, result.out.startswith(str(Path("state/runs/one/audit")))) == (0, True)


def test_what_is_not_covered_is_said_and_not_intact(outgate: Any, logs: Logs) -> None:
    (logs.folder / "worker-5.jsonl").write_bytes(lines(event(), event()))
    (logs.folder / "worker-0.jsonl.1").write_bytes(lines(event()))
    result = outgate(*COMMANDS)
    assert result.code == 1
    assert "warning: worker-5: not covered are 2 lines of a time before the chain" in result.err
    assert "worker-0.jsonl.1: not covered" in result.err
    assert result.out.endswith("\nnot covered\n")


# --- export ---

LOG = lines(event("GET", "https://a.example/=1"), refused("host_not_allowed", url="https://b.example/"))


@pytest.mark.parametrize("form", ["ocsf", "ecs", "otlp", "csv"])
def test_export_maps_each_event_and_names_what_it_cannot(outgate: Any, folder: Path, form: str) -> None:
    (folder / "worker-0.jsonl").write_bytes(LOG + b"{}\n" + b'{"v":1,"type":"torn"}\n')
    (folder / "worker-1.jsonl.1.gz").write_bytes(gzip.compress(LOG)[:-30])
    result = outgate("audit", "export", "--format", form, "worker-0.jsonl", "worker-1.jsonl.1.gz")
    assert result.code == 0
    assert "warning: skipped 2 damaged or foreign lines" in result.err
    assert "worker-0.jsonl:3: not an audit event" in result.err
    assert "worker-1.jsonl.1.gz:1: the rest cannot be read: damaged compression" in result.err
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(result.out)))
        assert [row["host"] for row in rows] == ["a.example", "b.example"]
        assert rows[0]["path"] == "/=1"
    else:
        found = [json.loads(line) for line in result.out.splitlines()]
        assert len(found) == 2
        own = {"ocsf": "class_uid", "ecs": "ecs", "otlp": "resourceLogs"}[form]
        assert all(own in each for each in found)


def test_export_reads_the_log_of_the_state_folder_and_writes_a_file_that_is_whole(outgate: Any, logs: Logs) -> None:
    result = outgate("audit", "export", "--state", "state", "--format", "ecs", "--output", "out.jsonl")
    assert (result.code, result.out, result.err) == (0, "", "")
    found = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert sorted(each["event"]["sequence"] for each in found) == sorted([*range(1, 23), *range(1, 6)])
    assert Path("out.jsonl").stat().st_mode & 0o777 == 0o600
    assert outgate("audit", "export", "--state", "state", "--format", "csv", "--output", "no/where").code == 2
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_export_to_parquet_has_every_field_with_its_type_in_order(outgate: Any, logs: Logs, folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    changed = {
        **event("GET", "https://z.example/"),
        "bytes_in": "many",
        "llm": {"model": "m"},
        "query_keys": ["a", "b"],
    }
    (folder / "worker-9.jsonl").write_bytes(lines(changed))
    result = outgate("audit", "export", "--format", "parquet", "--output", "it's.parquet", "state", "worker-9.jsonl")
    assert (result.code, result.out) == (0, ""), result.err
    assert result.err == "warning: left out 1 values that are not of the type that their field has\n"
    assert Path("it's.parquet").stat().st_mode & 0o777 == 0o600
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]
    database = duckdb.connect()
    rows = database.execute("SELECT seq, epoch_ms(time) > 0, injected, bytes_in FROM 'it''s.parquet'").fetchall()
    assert [row[0] for row in rows] == [*range(1, 23), *range(1, 6), None]
    assert {row[1:3] for row in rows} == {(True, False)}
    assert rows[-1][3] is None
    last = database.execute("SELECT llm->>'model', query_keys FROM 'it''s.parquet' WHERE seq IS NULL").fetchall()
    assert last == [("m", ["a", "b"])]
    types = dict(row[:2] for row in database.execute("DESCRIBE SELECT * FROM 'it''s.parquet'").fetchall())
    assert list(types) == list(json.loads(SCHEMA.read_text())["properties"])
    assert (types["port"], types["time"], types["duration_ms"]) == ("BIGINT", "TIMESTAMP WITH TIME ZONE", "DOUBLE")


def test_parquet_needs_a_file_and_duckdb(outgate: Any, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outgate("audit", "export", "--state", "state", "--format", "parquet").code == 2
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for output, said in (("out.parquet", "hint: pip install 'outgate[review]'"), ("no/where", "cannot write the file")):
        result = outgate("audit", "export", "--state", "state", "--format", "parquet", "--output", output)
        assert (result.code, said in result.err) == (2, True), result.err
    assert not list(Path().glob("*.parquet"))


def test_export_needs_a_form(outgate: Any, logs: Logs) -> None:
    assert outgate("audit", "export", "--state", "state").code == 2
    assert outgate("audit", "export", "--format", "xml").code == 2
