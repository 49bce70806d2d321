"""SQL on the view: what it says, and that nothing else on the machine can be read or changed by it."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.event import event_of
from proxy.errors import ConfigError
from proxy.exchange import Exchange
from proxy.insight.logs import Logs, reading
from proxy.insight.query import check, prepare, rows
from proxy.insight.view import COLUMNS
from proxy.policy.rules import Policy
from tests.review.events import lines, passed

DOCUMENT = (Path(__file__).parents[2] / "docs/review-log.md").read_text(encoding="utf-8")


def test_the_view_has_every_field_and_its_document_every_column_with_its_type() -> None:
    fields = [name for name in event_of(Exchange(sandbox="", policy=Policy())) if name != "v"]
    assert [column.name for column in COLUMNS if column.name not in ("recorded", "seq", "chain", "file")] == fields
    documented = re.findall(r"^\| `(\w+)` \| (\S+) \|", DOCUMENT.partition("## The view")[2], re.MULTILINE)
    assert documented == [(column.name, column.type.partition("(")[0]) for column in COLUMNS]


def test_every_key_of_llm_is_in_the_view() -> None:
    llm = next(column.type for column in COLUMNS if column.name == "llm")
    audit = (Path(__file__).parents[2] / "docs/audit.md").read_text(encoding="utf-8")
    table = audit.partition("## Calls of language models")[2].partition("\n\n| `api` |")[0]
    assert re.findall(r"(\w+) [A-Z]+[,)]", llm) == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def asked(log: Path, sql: str) -> tuple[list[str], list[Any]]:
    with reading([str(log)]) as logs:
        text = check(sql)
        prepare(logs)
        titles, found = rows(logs.database, text)
        return titles, list(found)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "worker-0.jsonl"
    path.write_bytes(lines(*(passed("r", at=second, id=f"{second:026}") for second in range(3))))
    return path


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT count(*) AS n FROM events;", [[3]]),
        ("WITH a AS (SELECT id FROM events) SELECT count(*) FROM a -- said", [[3]]),
        ("SELECT right(id, 1) FROM events ORDER BY time DESC", [["2"], ["1"], ["0"]]),
        ("VALUES (1, 1)", [[1, 1]]),
    ],
)
def test_a_select_is_answered(log: Path, sql: str, found: list[Any]) -> None:
    assert asked(log, sql)[1] == found


# {fd} is a file of the log, which DuckDB may open; {out} is a file that is not there; {secret} is one that is.
COPY = "COPY (SELECT 1) TO '{fd}' (FORMAT csv, USE_TMP_FILE false)"
ESCAPES = [
    COPY,
    "WITH x AS ({copy}) SELECT * FROM x",
    "WITH x AS ({copy}) SELECT * FROM x -- ",
    "SELECT * FROM (WITH x AS ({copy}) SELECT * FROM x)",
    "SELECT 1; {copy}",
    "SELECT 1) AS a; {copy}; SELECT * FROM (SELECT 1",
    "WITH x AS (COPY (SELECT 1) TO '{out}') SELECT * FROM x",
    "WITH x AS (INSERT INTO later VALUES ('a', 'b') RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM later RETURNING *) SELECT * FROM x",
    "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{out}'') SELECT * FROM x')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "EXPORT DATABASE '{out}'",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_csv('{secret}', header = false)",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM glob('{secret}*')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_text('{fd}/../../environ')",
    "SELECT * FROM parquet_scan('{secret}')",
    "SELECT * FROM read_json('http://127.0.0.1:1/x')",
    "ATTACH '{out}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_logging",
    "CALL enable_logging(storage_path = '{out}')",
    "CREATE TABLE mine AS SELECT 1",
    "DROP VIEW events",
    "SELECT getenv('HOME')",
    "SELECT * FROM logs",
    "SELECT * FROM text",
    "SELECT",
    "",
    "\0",
]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "worker-0.jsonl").write_bytes(lines(passed("r")))
    (folder / "secret.txt").write_text("TOP")
    with reading([str(folder / "worker-0.jsonl")]) as logs:
        prepare(logs)
        yield folder, logs


@pytest.mark.parametrize("sql", ESCAPES)
def test_nothing_else_can_be_read_or_changed(locked: tuple[Path, Logs], sql: str) -> None:
    folder, logs = locked
    secret, log = folder / "secret.txt", folder / "worker-0.jsonl"
    before = hashlib.sha256(log.read_bytes()).digest()
    sql = sql.replace("{copy}", COPY)
    for name, path in (("{fd}", logs.sources.files[0].path), ("{out}", folder / "out"), ("{secret}", secret)):
        sql = sql.replace(name, str(path))
    with pytest.raises(ConfigError):
        list(rows(logs.database, check(sql))[1])
    assert hashlib.sha256(log.read_bytes()).digest() == before
    assert sorted(path.name for path in folder.iterdir()) == ["secret.txt", "worker-0.jsonl"]
    assert list(rows(logs.database, "SELECT count(*) FROM events")[1]) == [[1]]


def test_settings_cannot_be_changed_even_by_ourselves(locked: tuple[Path, Logs]) -> None:
    import duckdb

    with pytest.raises(duckdb.Error):
        locked[1].database.execute("SET enable_external_access = true")
