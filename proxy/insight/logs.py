"""Logs, opened to be asked: one pass over all lines at a time, and what could not be read of them, told."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy import limits
from proxy.errors import ConfigError
from proxy.insight.duck import Told, connect, run
from proxy.insight.salvage import salvaged
from proxy.insight.scan import Scan
from proxy.insight.sources import Source, Sources, batches, opened
from proxy.insight.view import lines_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from proxy.insight.shelf import Shelf

MAX_NAMED = 5
_WORDS = {"damaged": "not JSON, or not an audit event", "version": "an audit event of another version"}


@dataclass
class Logs:
    """Open logs in a database. `scan` reads them; then the counts are those of everything that was read.

    `state` is the state folder that keeps what scans found in closed files; without it all is read each time.
    """

    database: "DuckDBPyConnection"
    sources: Sources
    folder: Path
    told: Told | None = None
    state: Path | None = None
    counts: Counter[str] = field(default_factory=Counter, init=False)  # lines by kind
    named: list[str] = field(default_factory=list, init=False)  # `file:line: why`, the first of what was left out
    joined: int = field(default=0, init=False)  # events of exchanges that a later one of theirs replaces
    broken: list[str] = field(default_factory=list, init=False)  # files that had to be salvaged
    _scans: int = field(default=0, init=False)

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of a query over what was scanned."""
        return run(self.database, sql, values)

    def scan(self, asked: Scan) -> str:
        """Group the events of all files. Returns the name of the table: its columns are `part`, the keys, the sums.

        Events that a later one of the same exchange replaces are not in it. Raises `ConfigError`.
        """
        name = f"scan_{self._scans}"
        self._scans += 1
        self._gather(asked)
        self._run(f"CREATE TEMP TABLE {name} AS {asked.of_all('found')}")
        self.ask("DROP TABLE IF EXISTS batch")
        self.ask("DROP TABLE found")
        self._count(name, next(iter(asked.sets)))
        self._join(name)
        self.ask(f"DELETE FROM {name} WHERE part = 'files'")
        return name

    def _gather(self, asked: Scan) -> None:
        """Make the table `found` of what is on the shelf, and of the rest by reading it."""
        shelf = self._shelf
        whole = [file for file in self.sources.files if file.name not in self.broken]
        taken = shelf.take(self.database, asked, whole) if shelf else set()
        unread = [file for file in self.sources.files if file.name not in taken]
        total, done, made = sum(file.lines_size for file in unread), 0, bool(taken)
        for files in batches(unread) if unread or taken else [[]]:
            size = sum(file.lines_size for file in files)
            self._read(f"CREATE OR REPLACE TEMP TABLE batch AS {asked.of_files()}", files, (done, size, total))
            self._run(f"{'INSERT INTO found BY NAME' if made else 'CREATE OR REPLACE TEMP TABLE found AS'} FROM batch")
            made = True
            if shelf:
                shelf.keep(self.database, asked, [file for file in files if file.name not in self.broken])
            done += size
        if shelf and unread:
            shelf.tidy()

    @cached_property
    def _shelf(self) -> "Shelf | None":
        from proxy.insight.shelf import Shelf, folder_in

        folder = self.state and folder_in(self.state)
        return Shelf(folder, self.sources.files) if folder else None

    def _show(self, files: Sequence[Source]) -> None:
        self.database.execute(f"CREATE OR REPLACE TEMP VIEW lines AS {lines_sql(tuple(files))}")

    def _run(self, sql: str, told: Told | None = None) -> None:
        import duckdb

        try:
            run(self.database, sql, (), told)
        except duckdb.OutOfMemoryException:
            hint = "ask for less at once, with --since or fewer files; TMPDIR names the folder for temporary files"
            raise ConfigError("the log is too varied for the memory and the temporary folder", hint) from None

    def _read(self, sql: str, files: Sequence[Source], share: tuple[int, int, int]) -> None:
        """Run SQL over the view `lines` of some files, whose place in the whole is `share`, in bytes."""
        import duckdb

        names = {file.name for file in files}
        for _ in range(2):
            self._show([file for file in self.sources.files if file.name in names])
            try:
                self._run(sql, self.told and partial(self._tell, *share))
            except duckdb.Error:
                if not self._salvage(names):
                    raise
            else:
                return
        raise ConfigError("the log cannot be read", "are its files on a disk that fails?")

    def _tell(self, done: int, size: int, total: int, percent: float) -> None:
        if self.told is not None:
            self.told((100 * done + size * percent) / max(total, 1))

    def _salvage(self, names: set[str]) -> bool:
        """Put a copy of what can be read in the place of each of these files that DuckDB gives up on."""
        import duckdb

        found = False
        for file in self.sources.files:
            if file.name not in names:
                continue
            try:
                self.database.execute(f"SELECT count(kind) FROM ({lines_sql((file,))})").fetchall()
            except duckdb.Error:
                self.sources = self.sources.with_file(salvaged(file, self.folder))
                self.broken.append(file.name)
                found = True
        return found

    def _count(self, name: str, part: str) -> None:
        """Count lines by kind; `part` is one that has every event that was chosen."""
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
        ((chosen,),) = self.ask(f"SELECT coalesce(sum(events), 0)::BIGINT FROM {name} WHERE part = '{part}'")
        self.counts["filtered"] += self.counts["event"] - chosen
        self.counts["event"] = chosen
        self.named = []
        for file in self.sources.files:
            if file.path in bad and len(self.named) < MAX_NAMED:
                self.named = [*self.named, *self._name(file)][:MAX_NAMED]

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
                " AND \"end\" NOT IN ('open', 'crashed') AND id IN (FROM died)",
                self._around_deaths(name),
                (0, 1, 1),
            )
            ended += " UNION ALL SELECT id FROM short"
        for state, later in (("crashed", ended), ("open", f"{ended} UNION ALL {died}")):
            gone = f"part <> 'files' AND long_end = '{state}' AND long_id IN ({later})"
            ((count,),) = self.ask(
                f"SELECT coalesce(max(total), 0)::BIGINT FROM"
                f" (SELECT sum(events) AS total FROM {name} WHERE {gone} GROUP BY part)"
            )
            self.joined += count
            self.ask(f"DELETE FROM {name} WHERE {gone}")

    def _around_deaths(self, name: str) -> list[Source]:
        """The files that can hold how a short exchange ended for which there is only the death of its worker."""
        paths = self.ask(
            f"SELECT DISTINCT files.file FROM {name} AS files JOIN {name} AS deaths"
            f" ON files.low <= deaths.high + to_seconds({limits.LONG_TIME + 1}) AND files.high >= deaths.low"
            " WHERE files.part = 'files' AND coalesce(files.kind, 'event') = 'event'"
            " AND deaths.part <> 'files' AND deaths.long_end = 'crashed'"
        )
        return [file for file in self.sources.files if (file.path,) in paths]

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
def reading(names: Sequence[str], told: Told | None = None, state: Path | None = None) -> Iterator[Logs]:
    """The logs of files and folders, ready to be asked; `state` is the state folder that keeps what scans found.

    Raises `ConfigError`.
    """
    with opened(names) as sources, tempfile.TemporaryDirectory(prefix="outgate-") as folder:
        logs = Logs(connect(Path(folder)), sources, Path(folder), told, state)
        try:
            yield logs
        finally:
            logs.database.close()
            for file in set(logs.sources.files) - set(sources.files):
                os.close(file.fd)
