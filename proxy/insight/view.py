"""The view `events`: its columns, and the SQL that makes it of files. It is a public contract (docs/review-log.md)."""

from dataclasses import dataclass

from proxy.audit.event import VERSION
from proxy.insight.sources import Source

LLM = (
    "STRUCT(provider VARCHAR, api VARCHAR, model VARCHAR, answers BIGINT, input BIGINT, cached_input BIGINT, "
    "cache_write BIGINT, cache_write_1h BIGINT, output BIGINT, reasoning BIGINT, searches BIGINT, tier VARCHAR, "
    "cost_usd DOUBLE, raw JSON, partial BOOLEAN, not_metered VARCHAR)"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the view; `read` is the type that it is read as, where that is another one."""

    name: str
    type: str
    read: str = ""


COLUMNS = (
    Column("id", "VARCHAR"),
    Column("time", "TIMESTAMP", "VARCHAR"),
    Column("recorded", "TIMESTAMP", "-"),
    Column("sandbox", "VARCHAR"),
    Column("policy", "VARCHAR"),
    Column("policy_digest", "VARCHAR"),
    Column("client", "VARCHAR"),
    Column("boundary", "VARCHAR"),
    Column("scheme", "VARCHAR"),
    Column("method", "VARCHAR"),
    Column("host", "VARCHAR"),
    Column("port", "INTEGER"),
    Column("path", "VARCHAR"),
    Column("query_keys", "VARCHAR[]"),
    Column("verdict", "VARCHAR"),
    Column("reason", "VARCHAR"),
    Column("rule", "VARCHAR"),
    Column("nearest", "VARCHAR"),
    Column("detail", "VARCHAR"),
    Column("credential", "VARCHAR"),
    Column("injected", "BOOLEAN"),
    Column("not_injected", "VARCHAR"),
    Column("upstream_ip", "VARCHAR"),
    Column("tls", "VARCHAR"),
    Column("status", "INTEGER"),
    Column("bytes_in", "BIGINT"),
    Column("bytes_out", "BIGINT"),
    Column("ttfb_ms", "DOUBLE"),
    Column("duration_ms", "DOUBLE"),
    Column("end", "VARCHAR"),
    Column("llm", LLM),
    Column("seq", "BIGINT"),
    Column("chain", "VARCHAR"),
    Column("file", "VARCHAR", "-"),
)

# Everything that a line may hold is named, also what no column shows: keys that are not slow DuckDB down.
_READ = {
    "v": "VARCHAR",
    "type": "VARCHAR",
    "prev": "VARCHAR",
    **{column.name: column.read or column.type for column in COLUMNS if column.read != "-"},
}
_MAX_LINE = 1 << 20

# A clock is wrong, but not as wrong as that; it also keeps `infinity` out.
_TIME = "try_cast(time AS TIMESTAMP)"
_PLAUSIBLE = f"{_TIME} BETWEEN TIMESTAMP '2000-01-01' AND TIMESTAMP '2200-01-01'"
_WHOLE = (
    "id IS NOT NULL AND scheme IS NOT NULL AND method IS NOT NULL AND path IS NOT NULL AND reason IS NOT NULL"
    " AND verdict IN ('allow', 'deny') AND \"end\" IS NOT NULL AND bytes_in >= 0 AND bytes_out >= 0"
    f" AND coalesce(duration_ms, 0) BETWEEN 0 AND 1e12 AND coalesce({_PLAUSIBLE}, false)"
)
# What a line is: an event, a record of another kind, an event of another version, or nothing that can be read.
KIND = (
    f"CASE WHEN v IS DISTINCT FROM '{VERSION}'"
    " THEN CASE WHEN v IS NOT NULL AND coalesce(verdict, type) IS NOT NULL THEN 'version' ELSE 'damaged' END"
    f" WHEN type IS NOT NULL THEN 'record' WHEN {_WHOLE} THEN 'event' ELSE 'damaged' END"
)


def lines_sql(files: tuple[Source, ...]) -> str:
    """A SELECT of every line of the files: the fields as they are read, `file` and `kind`."""
    parts = [_read(group, packed=packed) for packed in (False, True) if (group := _of(files, packed=packed))]
    every = " UNION ALL ".join(f"SELECT * FROM {part}" for part in parts) or _NOTHING
    made = {"time": f"{_TIME} AS time", "recorded": f"{_TIME} + to_milliseconds({_MS}) AS recorded", "file": "file"}
    columns = ", ".join(made.get(column.name, f'"{column.name}"') for column in COLUMNS)
    return f"SELECT {columns}, {KIND} AS kind FROM ({every})"


_NOTHING = (
    "SELECT "
    + ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in {**_READ, "file": "VARCHAR"}.items())
    + " WHERE false"
)
_MS = "CASE WHEN duration_ms BETWEEN 0 AND 1e12 THEN duration_ms::BIGINT ELSE 0 END"


def _of(files: tuple[Source, ...], *, packed: bool) -> list[Source]:
    return [file for file in files if file.packed is packed]


def _read(files: list[Source], *, packed: bool) -> str:
    paths = ", ".join(f"'{file.path}'" for file in files)
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _READ.items())
    return (
        f"read_json([{paths}], format = 'newline_delimited', columns = {{{columns}}}, ignore_errors = true,"
        f" maximum_object_size = {_MAX_LINE}, compression = '{'gzip' if packed else 'none'}', filename = 'file')"
    )
