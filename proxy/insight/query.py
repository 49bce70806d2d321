"""A reader's own SQL on the view `events`: it may read the view, and nothing else on this machine.

DuckDB may open the files of the log and no others, loads nothing, and its settings are locked before it sees the SQL.
The files of the log it could also write, by a COPY that hides in a WITH: so only a single SELECT is taken, and only if
it could stand inside another one, where DuckDB takes nothing that changes anything.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from proxy.errors import ConfigError
from proxy.insight.logs import Logs
from proxy.insight.scan import Scan, quoted
from proxy.insight.view import COLUMNS, lines_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HINT = "one SELECT on the view `events`; its columns are in docs/review-log.md"


def check(sql: str) -> str:
    """The SQL without a semicolon at its end. Raises `ConfigError` for what is no single SELECT."""
    import duckdb

    try:
        found = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise _wrong(error) from None
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        raise ConfigError("only one SELECT can be asked", _HINT)
    return found[0].query.strip().rstrip("; \t\n")


def prepare(logs: Logs) -> None:
    """Make the view, and lock the database: from here on it can read the log and nothing else."""
    scan = logs.scan(Scan({"one": "1"}, {"main": ["one"]}, {"latest": "max(time)"}, "true"))
    logs.ask(
        f"CREATE TEMP TABLE later AS SELECT DISTINCT long_id, long_end FROM {scan}"
        " WHERE long_end IN ('open', 'crashed')"
    )
    names = ", ".join(f"{quoted(file.path)}: {quoted(file.name)}" for file in logs.sources.files)
    columns = ", ".join(
        f"map_extract(MAP {{{names}}}, file)[1] AS file" if each.name == "file" else f'"{each.name}"'
        for each in COLUMNS
    )
    logs.ask(
        f"CREATE TEMP VIEW events AS SELECT {columns} FROM ({lines_sql(logs.sources.files)}) WHERE kind = 'event'"
        " AND (\"end\" NOT IN ('open', 'crashed') OR (id, \"end\") IN (FROM later))"
    )
    paths = ", ".join(quoted(file.path) for file in logs.sources.files)
    logs.ask("SET preserve_insertion_order = true")
    for setting in (f"allowed_paths = [{paths}]", "enable_external_access = false", "lock_configuration = true"):
        logs.ask(f"SET {setting}")


def rows(database: "DuckDBPyConnection", sql: str) -> tuple[list[str], Iterator[list[Any]]]:
    """The titles of the columns, and the rows as they come, of SQL that was checked. Raises `ConfigError`."""
    import duckdb

    try:
        database.execute(f"EXPLAIN SELECT * FROM (\n{sql}\n)")  # binds it where nothing may change, and runs nothing
        result = database.execute(sql)
        titles = [each[0] for each in result.description or ()]
    except duckdb.Error as error:
        raise _wrong(error) from None
    return titles, _rows(result)


def _rows(result: "DuckDBPyConnection") -> Iterator[list[Any]]:
    import duckdb

    try:
        while found := result.fetchmany(1000):
            yield from map(list, found)
    except duckdb.Error as error:
        raise _wrong(error) from None


def _wrong(error: Exception) -> ConfigError:
    """DuckDB's own words, without its picture of the place."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConfigError(f"DuckDB: {first}", _HINT)
