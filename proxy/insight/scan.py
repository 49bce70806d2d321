"""What is asked of every line of a log, as SQL: groups with their sums, for a few files at a time or for all. Pure.

Groups are made for each file first, so that those of a file that does not change any more can be kept; then the groups
of all files are made one. Minima, maxima and sums stay the same by that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy import limits
from proxy.policy.host import INTERNAL

# Of an exchange that was on record before it ended, or that a worker's death ended, the log may hold two events. These
# keys keep each of them in a row of its own, so that the earlier one can be taken back.
LONG = (
    f"CASE WHEN \"end\" IN ('open', 'crashed') OR duration_ms >= {limits.LONG_TIME * 1000} OR duration_ms IS NULL"
    " THEN {} END"
)
LONG_KEYS = {"long_id": LONG.format("id"), "long_end": LONG.format('"end"')}


NOT_OURS = f"coalesce(host, '') <> '{INTERNAL}'"  # what was asked of Outgate itself never left


def quoted(text: str) -> str:
    """Text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def stamp(time: datetime) -> str:
    """A time as SQL writes it."""
    return f"TIMESTAMP {quoted(time.strftime('%Y-%m-%d %H:%M:%S.%f'))}"


@dataclass(frozen=True, slots=True)
class Since:
    """The key that says whether `column`, a time, is not before `time`; without one it never is."""

    key: str = "inside"
    column: str = "time"
    time: datetime | None = None

    def of(self, low: str, high: str) -> str:
        """SQL for what lies between two times: true or false, and null where it is both."""
        if self.time is None:
            return "true"
        return f"CASE WHEN {low} >= {stamp(self.time)} THEN true WHEN {high} < {stamp(self.time)} THEN false END"


@dataclass(frozen=True, slots=True)
class Scan:
    """Which events, in which groups, with which sums.

    `keys` are SQL over the columns of the view, by name. Each of `sets` groups by some of them and by the key of
    `since`, and is told by the column `part`. `sums` are aggregates, each a `min`, a `max` or a `sum` of whole numbers.
    Events are those for which `keep` is true. Of the groups those stay for which `chosen` is, SQL over the keys that
    all sets have.
    """

    keys: Mapping[str, str]
    sets: Mapping[str, Sequence[str]]
    sums: Mapping[str, str]
    keep: str
    since: Since = Since()
    chosen: str = "true"

    def question(self) -> str:
        """What `lasting` depends on, but for the columns of `lines`."""
        return repr((self.keys, LONG_KEYS, self.sets, self.sums, self.keep, self.since.key, self.since.column))

    def of_files(self) -> str:
        """A SELECT of the groups of each file, from `lines`. The part `files` counts lines by kind.

        `low` and `high` are the first and the last time of a group, in the column that `since` looks at.
        """
        keys = {**self.keys, **LONG_KEYS}
        named = ", ".join(f'{sql} AS "{key}"' for key, sql in keys.items() if sql != key)
        every = [["kind"], *([*each, self.since.key, "long_id", "long_end"] for each in self.sets.values())]
        parts = [f"WHEN GROUPING({each[0]}) = 0 THEN '{part}'" for part, each in self.sets.items()]
        column = self.since.column
        return (
            f"SELECT CASE WHEN GROUPING(kind) = 0 THEN 'files' {' '.join(parts)} END AS part,"
            f" {', '.join(('file', 'kind', *keys, self.since.key))}, count(*)::HUGEINT AS events,"
            f" {', '.join(f'{sql} AS {name}' for name, sql in self.sums.items())},"
            f" min({column}) AS low, max({column}) AS high"
            f" FROM (SELECT * EXCLUDE (kind), CASE WHEN kind <> 'event' THEN kind WHEN {self.keep} THEN 'event' END"
            f" AS kind, kind IS NOT DISTINCT FROM 'event' AND ({self.keep}) AS kept,"
            f" {self.since.of(column, column)} AS {self.since.key}, {named} FROM lines)"
            f" GROUP BY GROUPING SETS ({', '.join('(' + ', '.join([*each, 'file', 'kept']) + ')' for each in every)})"
            f" HAVING GROUPING(kind) = 0 OR kept"
        )

    def lasting(self, table: str, file: str) -> str:
        """A SELECT of the groups of one file out of a table with `of_files`, as they are whatever `since` says.

        Sums are decimals: a Parquet file has no whole numbers of more than 64 bits.
        """
        groups = ["part", "kind", *self.keys, *LONG_KEYS]
        return (
            f"SELECT {self._merged(groups, '::DECIMAL(38, 0)')} FROM {table} WHERE file = {quoted(file)}"
            f" GROUP BY {', '.join(groups)}"
        )

    def again(self, files: Mapping[str, str]) -> str:
        """A SELECT as `of_files` has it out of Parquet files made of `lasting`, each with the file that it is about.

        The key of `since` is null in groups that are on both sides of its time.
        """
        whole = ", ".join(f"{name}::HUGEINT AS {name}" for name in ("events", *self._summed))
        about = ", ".join(f"{quoted(path)}: {quoted(file)}" for path, file in files.items())
        return (
            f"SELECT * EXCLUDE (source) REPLACE ({whole}), map_extract(MAP {{{about}}}, source)[1] AS file,"
            f" {self.since.of('low', 'high')} AS {self.since.key}"
            f" FROM read_parquet([{', '.join(map(quoted, files))}], filename = 'source')"
        )

    def of_all(self, table: str) -> str:
        """A SELECT of the groups of all files out of a table with theirs; those of the part `files` stay apart."""
        groups = ["part", "kind", *self.keys, *LONG_KEYS, self.since.key]
        alone = "CASE WHEN part = 'files' THEN file END"
        return (
            f"SELECT {self._merged(groups)}, {alone} AS file FROM {table} WHERE part = 'files' OR ({self.chosen})"
            f" GROUP BY {', '.join(groups)}, {alone}"
        )

    @property
    def _summed(self) -> list[str]:
        return [name for name, sql in self.sums.items() if sql.startswith("sum(")]

    def _merged(self, groups: Sequence[str], whole: str = "") -> str:
        sums = []
        for name, sql in {**self.sums, "events": "sum()", "low": "min()", "high": "max()"}.items():
            function = sql.partition("(")[0]
            sums.append(f"{function}({name}){whole if function == 'sum' else ''} AS {name}")
        return ", ".join((*groups, *sums))
