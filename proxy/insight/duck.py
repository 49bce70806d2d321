"""A DuckDB of our own: in memory, bounded, with no extension, no network and no look at Python's variables."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.errors import ConfigError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "2GB"  # for what a query holds; beyond it, it goes to files in the folder of temporary files
_TICK = 0.2  # seconds between two looks at the progress

type Told = Callable[[float], None]
"""Called with the percentage that a query has done, now and then."""


def missing(package: str) -> ConfigError:
    """What is said where the extra is not installed."""
    return ConfigError(f"{package} is not installed, which reviewing audit logs needs", "pip install 'outgate[review]'")


def connect(temporary: Path) -> "DuckDBPyConnection":
    """A new, empty database; `temporary` is a folder for what does not fit into memory. Raises `ConfigError`."""
    try:
        import duckdb
    except ImportError:
        raise missing("duckdb") from None
    settings: dict[str, Any] = {
        "memory_limit": MEMORY,
        "temp_directory": str(temporary),
        "preserve_insertion_order": False,
        "python_enable_replacements": False,
        "python_scan_all_frames": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_unsigned_extensions": False,
        "enable_http_metadata_cache": False,
        "TimeZone": "UTC",
    }
    database = duckdb.connect(":memory:", config={k: v for k, v in settings.items() if k != "TimeZone"})
    with suppress(duckdb.Error):
        database.execute("SET TimeZone = 'UTC'")
    database.execute("SET enable_progress_bar = true")  # without it, nobody counts
    database.execute("SET enable_progress_bar_print = false")
    return database


def run(database: "DuckDBPyConnection", sql: str, values: Sequence[object] = (), told: Told | None = None) -> list[Any]:
    """The rows of a query. Ctrl-C stops it. Raises what DuckDB raises."""
    if told is None:
        return database.execute(sql, list(values)).fetchall()
    found: list[list[Any]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(database.execute(sql, list(values)).fetchall())
        except BaseException as error:  # noqa: BLE001  raised again below, in the thread that asked
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TICK)
            told(max(0.0, database.query_progress()))
    except BaseException:
        database.interrupt()
        thread.join()
        raise
    if failed:
        raise failed[0]
    return found[0]
