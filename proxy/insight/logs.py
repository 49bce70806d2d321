"""Logs, opened to be asked: one pass over all lines at a time, and what could not be read of them, told."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy import limits
from proxy.errors import ConfigError
from proxy.insight.duck import Told, connect, run
from proxy.insight.salvage import salvaged
from proxy.insight.sources import Source, Sources, opened
from proxy.insight.view import lines_sql
from proxy.policy.host import INTERNAL

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_NAMED = 5
_WORDS = {"damaged": "not JSON, or not an audit event", "version": "an audit event of another version"}

# Of an exchange that was on record before it ended, or that a worker's death ended, the log may hold two events. These
# keys keep each of them in a row of its own, so that the earlier one can be taken back.
LONG = (
    f"CASE WHEN \"end\" IN ('open', 'crashed') OR duration_ms >= {limits.LONG_TIME * 1000} OR duration_ms IS NULL"
    " THEN {} END"
)
LONG_KEYS = {"long_id": LONG.format("id"), "long_end": LONG.format('"end"')}


@dataclass
class Logs:
    """Open logs in a database. `scan` reads them; then the counts are those of everything that was read."""

    database: "DuckDBPyConnection"
    sources: Sources
    folder: Path
    told: Told | None = None
    counts: Counter[str] = field(default_factory=Counter, init=False)  # lines by kind
    named: list[str] = field(default_factory=list, init=False)  # `file:line: why`, the first of what was left out
    joined: int = field(default=0, init=False)  # events of exchanges that a later one of theirs replaces
    broken: list[str] = field(default_factory=list, init=False)  # files that had to be salvaged
    _scans: int = field(default=0, init=False)

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of a query over what was scanned."""
        return run(self.database, sql, values)

    def scan(
        self, keys: Mapping[str, str], sets: Mapping[str, Sequence[str]], sums: Mapping[str, str], keep: str
    ) -> str:
        """Read every line once, and group the events for which `keep` is true. Returns the name of the table.

        `keys` are SQL over the columns of the view, by name; each of `sets` groups by some of them and is told by the
        column `part`; `sums` are aggregates. Events that a later one of the same exchange replaces are not in it.
        """
        name = f"scan_{self._scans}"
        self._scans += 1
        keys = {**keys, **LONG_KEYS}
        every = [["file", "kind"], *([*each, "long_id", "long_end"] for each in sets.values())]
        parts = [f"WHEN GROUPING({each[0]}) = 0 THEN '{part}'" for part, each in sets.items()]
        inner = ", ".join(f'{sql} AS "{key}"' for key, sql in keys.items() if sql != key)
        self._read(
            f"CREATE TEMP TABLE {name} AS"
            f" SELECT CASE WHEN GROUPING(file) = 0 THEN 'files' {' '.join(parts)} END AS part,"
            f" {', '.join(('file', 'kind', *keys))}, count(*) AS events,"
            f" {', '.join(f'{sql} AS {total}' for total, sql in sums.items())}"
            f" FROM (SELECT * EXCLUDE (kind), CASE WHEN kind <> 'event' THEN kind WHEN {keep} THEN 'event' END AS kind,"
            f" kind IS NOT DISTINCT FROM 'event' AND ({keep}) AS kept, {inner} FROM lines)"
            f" GROUP BY GROUPING SETS ({', '.join('(' + ', '.join([*each, 'kept']) + ')' for each in every)})"
            f" HAVING GROUPING(file) = 0 OR kept"
        )
        self._count(name)
        self._join(name)
        return name

    def _read(self, sql: str) -> None:
        import duckdb

        for _ in range(2):
            self.database.execute(f"CREATE OR REPLACE TEMP VIEW lines AS {lines_sql(self.sources.files)}")
            try:
                run(self.database, sql, (), self.told)
            except duckdb.OutOfMemoryException:
                hint = "ask for less at once, with --since or --sandbox; TMPDIR names the folder for temporary files"
                raise ConfigError("the log is too varied for the memory and the temporary folder", hint) from None
            except duckdb.Error:
                if not self._salvage():
                    raise
            else:
                return
        raise ConfigError("the log cannot be read", "are its files on a disk that fails?")

    def _salvage(self) -> bool:
        """Put a copy of what can be read in the place of each file that DuckDB gives up on."""
        import duckdb

        found = False
        for file in self.sources.files:
            try:
                self.database.execute(f"SELECT count(kind) FROM ({lines_sql((file,))})").fetchall()
            except duckdb.Error:
                self.sources = self.sources.with_file(salvaged(file, self.folder))
                self.broken.append(file.name)
                found = True
        return found

    def _count(self, name: str) -> None:
        rows = self.ask(
            f"SELECT file, coalesce(kind, 'filtered'), sum(events)::BIGINT FROM {name}"
            " WHERE part = 'files' GROUP BY ALL"
        )
        self.counts = Counter()
        bad = set()
        for file, kind, count in rows:
            self.counts[kind] += count
            if kind in _WORDS:
                bad.add(file)
        self.named = [line for file in self.sources.files if file.path in bad for line in self._name(file)][:MAX_NAMED]
        self.ask(f"DELETE FROM {name} WHERE part = 'files'")

    def _name(self, file: Source) -> list[str]:
        """The first lines of a file that were left out; empty lines do not count."""
        self.database.execute("SET preserve_insertion_order = true")
        rows = self.ask(
            f"SELECT number, kind FROM (SELECT row_number() OVER () AS number, kind FROM ({lines_sql((file,))}))"
            f" WHERE kind IN ('damaged', 'version') LIMIT {MAX_NAMED}"
        )
        self.database.execute("SET preserve_insertion_order = false")
        return [f"{file.name}:{number}: {_WORDS[kind]}" for number, kind in rows]

    def _join(self, name: str) -> None:
        """Take back the events of exchanges for which there is a later one."""
        ended = f"SELECT long_id FROM {name} WHERE long_end NOT IN ('open', 'crashed')"
        died = f"SELECT long_id FROM {name} WHERE long_end = 'crashed'"
        if self.ask(f"{died} AND long_id NOT IN ({ended}) LIMIT 1"):
            # One that was just out when its worker died; it may have been as short as any.
            self.ask(f"CREATE OR REPLACE TEMP TABLE died AS {died}")
            self._read(
                "CREATE OR REPLACE TEMP TABLE short AS SELECT id FROM lines WHERE kind = 'event'"
                " AND \"end\" NOT IN ('open', 'crashed') AND id IN (FROM died)"
            )
            ended += " UNION ALL SELECT id FROM short"
        for state, later in (("crashed", ended), ("open", f"{ended} UNION ALL {died}")):
            gone = f"part IS NOT NULL AND long_end = '{state}' AND long_id IN ({later})"
            ((count,),) = self.ask(
                f"SELECT coalesce(max(total), 0)::BIGINT FROM"
                f" (SELECT sum(events) AS total FROM {name} WHERE {gone} GROUP BY part)"
            )
            self.joined += count
            self.ask(f"DELETE FROM {name} WHERE {gone}")

    @property
    def skipped(self) -> int:
        """How many lines are no events that can be read."""
        return sum(self.counts[kind] for kind in _WORDS)

    def facts(self) -> dict[str, Any]:
        """What JSON says of what was read, and what was not."""
        return {
            "files": [file.name for file in self.sources.files],
            "lines": self.counts.total(),
            "events": self.counts["event"] - self.joined,
            "filtered": self.counts["filtered"],
            "joined": self.joined,
            "skipped": self.skipped,
            "skipped_first": self.named,
            "broken": self.broken,
            "copies": [copy for copy, _ in self.sources.copies],
        }

    def notes(self) -> list[str]:
        """The same for people, as far as something was left out."""
        notes = []
        if self.skipped:
            notes.append(f"warning: skipped {self.skipped} damaged or foreign line{'s' * (self.skipped != 1)}")
            notes += [f"  {name}" for name in self.named]
            if self.skipped > len(self.named):
                notes.append(f"  and {self.skipped - len(self.named)} more")
        notes += [f"warning: {name}: the file is damaged; what could be read of it counts" for name in self.broken]
        notes += [f"note: {copy}: left out, a copy of {other}" for copy, other in self.sources.copies]
        return notes


@contextmanager
def reading(names: Sequence[str], told: Told | None = None) -> Iterator[Logs]:
    """The logs of files and folders, ready to be asked. Raises `ConfigError`."""
    with opened(names) as sources, tempfile.TemporaryDirectory(prefix="outgate-") as folder:
        logs = Logs(connect(Path(folder)), sources, Path(folder), told)
        try:
            yield logs
        finally:
            logs.database.close()
            for file in set(logs.sources.files) - set(sources.files):
                os.close(file.fd)


def quoted(text: str) -> str:
    """Text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def kept(sandboxes: Sequence[str], policies: Sequence[str]) -> str:
    """SQL that is true for the events that the options choose."""
    chosen = ["coalesce(host, '') <> " + quoted(INTERNAL)]
    for column, names in (("sandbox", sandboxes), ("policy", policies)):
        if names:
            chosen.append(f"coalesce({column} IN ({', '.join(map(quoted, names))}), false)")
    return " AND ".join(chosen)
