"""Parquet: one column for each field of the event, with its type, made by DuckDB from lines beside the file."""

import gzip
import json
import math
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proxy.audit.export import Record
from proxy.errors import ConfigError
from proxy.insight.duck import connect

SCHEMA = Path(__file__).parents[1] / "event.schema.json"
_MAX_LINE = 1 << 20
_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "string": ("VARCHAR", str),
    "integer": ("BIGINT", int),
    "number": ("DOUBLE", (int, float)),
    "boolean": ("BOOLEAN", bool),
    "array": ("VARCHAR[]", list),
    "object": ("JSON", dict),
}


def write_parquet(events: Iterable[Record], output: Path) -> int:
    """Write the events, in their order; returns how many values were left out because the schema has another type.

    In bounded memory: events pass through a compressed file in a folder of its own beside `output`. Raises
    `ConfigError` where DuckDB is not installed or fails, and `OSError`.
    """
    kinds = columns()
    wrong = 0
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
        folder = Path(name)
        database = connect(folder)
        lines, draft = folder / "events.jsonl.gz", folder / "events.parquet"
        with gzip.open(lines, "wt", compresslevel=1, encoding="utf-8") as file:
            for event in events:
                fitting = {key: event[key] for key, kind in kinds.items() if _fits(event.get(key), kind)}
                wrong += sum(event.get(key) is not None for key in kinds) - len(fitting)
                file.write(json.dumps(fitting, separators=(",", ":")) + "\n")
        _convert(database, lines, draft, kinds)
        draft.chmod(0o600)
        draft.replace(output)
    return wrong


def columns() -> dict[str, str]:
    """The fields of an event with their types in the schema, null left out."""
    properties = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    return {key: _kind(about) for key, about in properties.items()}


def _kind(about: dict[str, Any]) -> str:
    kinds = about.get("type", "integer")  # `v` is a constant
    return kinds if isinstance(kinds, str) else next(kind for kind in kinds if kind != "null")


def _fits(value: object, kind: str) -> bool:
    if not isinstance(value, _TYPES[kind][1]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) < 1 << 63
    return not isinstance(value, list) or all(isinstance(each, str) for each in value)


def _convert(database: Any, lines: Path, draft: Path, kinds: dict[str, str]) -> None:
    import duckdb

    types = ", ".join(f"'{key}': '{_TYPES[kind][0]}'" for key, kind in kinds.items())
    try:
        database.execute("SET preserve_insertion_order = true")
        database.execute(
            f"COPY (SELECT * REPLACE (try_cast(time AS TIMESTAMPTZ) AS time) FROM read_json({_quoted(lines)},"  # noqa: S608 - our own names
            f" format = 'newline_delimited', maximum_object_size = {_MAX_LINE}, columns = {{{types}}}))"
            f" TO {_quoted(draft)} (FORMAT parquet, COMPRESSION zstd)"
        )
    except duckdb.Error as error:
        raise ConfigError(f"DuckDB could not write the file: {type(error).__name__}", "is there room for it?") from None
    finally:
        database.close()


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
