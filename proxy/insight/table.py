"""An answer: sentences and tables of plain values, whatever it is printed as. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

type Form = Literal["text", "count", "ratio", "bytes", "usd", "time", "day", "list", "code"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MAX_LIST = 4


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in JSON, its title, and how its values are shown."""

    key: str
    title: str
    form: Form = "text"


@dataclass(slots=True)
class Table:
    """Rows of plain values, one for each column. `more` rows are left out; `about` says what the table is of."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: list[tuple[Any, ...]]
    more: int = 0
    about: str = ""

    @classmethod
    def of(  # noqa: PLR0913, PLR0917  the fields, and where to cut
        cls, key: str, title: str, columns: Sequence[Column], rows: list[tuple[Any, ...]], most: int, about: str = ""
    ) -> Self:
        """A table of the first `most` rows."""
        return cls(key, title, columns, rows[:most], max(0, len(rows) - most), about)

    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON has them."""
        return [
            {column.key: plain(value) for column, value in zip(self.columns, row, strict=True)} for row in self.rows
        ]

    @property
    def titles(self) -> list[str]:
        """What stands above the cells."""
        return [column.title for column in self.columns if column.form != "code"]

    def cells(self) -> list[list[str]]:
        """The rows as people read them, but for what has many lines."""
        return [
            [
                shown(value, column.form)
                for column, value in zip(self.columns, row, strict=True)
                if column.form != "code"
            ]
            for row in self.rows
        ]


@dataclass(slots=True)
class Answer:
    """What a command found: sentences, facts for JSON alone, tables, texts with a title, and a last sentence."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    last: str = ""


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def shown(value: Any, form: Form) -> str:
    """A value as people read it; nothing for what is not known."""
    if value is None:
        return ""
    if form == "bytes":
        return size(value)
    if form == "usd":
        return dollars(value)
    if form == "count":
        return f"{value:,}"
    if form == "ratio":
        return f"{value:,.1f}"
    if form == "day":
        return f"{value:%Y-%m-%d}"
    if form == "time":
        return moment(value)
    if form == "list":
        named = ", ".join(str(each) for each in value[:_MAX_LIST])
        return named + (f" and {len(value) - _MAX_LIST} more" if len(value) > _MAX_LIST else "")
    return str(value)


def moment(value: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{value:%Y-%m-%d %H:%M}"


def size(value: float) -> str:
    """Bytes, in units of a thousand."""
    amount, unit = float(value), 0
    while abs(amount) >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or abs(amount) >= 99.5 else f"{amount:.1f} {_UNITS[unit]}"


def dollars(value: float) -> str:
    """US dollars; cents count where there is little."""
    return f"${value:,.0f}" if value >= 1000 else f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"
