"""CSV: one column for each field of the event, safe to open in a spreadsheet (RFC 4180, OWASP "CSV Injection")."""

import json

from proxy.audit.export import Record

# A spreadsheet takes a cell that begins with one of these for a formula; the wide forms count in some locales.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cells(event: Record, columns: tuple[str, ...]) -> list[str]:
    """The event as cells. Text that a spreadsheet could run gets an apostrophe in front; `null` is an empty cell."""
    return [_cell(event.get(column)) for column in columns]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"'{text}" if text.startswith(_FORMULA) else text
