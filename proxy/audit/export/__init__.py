"""Events in the words of other systems. One module each, one pure function in it; what is missing is left out."""

import math
from datetime import UTC, datetime
from typing import Any

type Record = dict[str, Any]

PRODUCT = "Outgate"
_LONGEST = 1e12  # milliseconds: thirty years


def filled(record: Record) -> Record:
    """The record without what says nothing: null, empty text, empty lists and objects, no number, at any depth."""
    found = {key: filled(value) if isinstance(value, dict) else value for key, value in record.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {}) and not _endless(value)}


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def number(event: Record, key: str) -> int | None:
    """A whole number of an event; None if it has none. A log may hold anything, so nothing is taken on trust."""
    value = event.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def milliseconds(event: Record, key: str) -> float | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < _LONGEST else None


def began(event: Record) -> datetime:
    """When the exchange began."""
    time = datetime.fromisoformat(event["time"])
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def client(event: Record) -> tuple[str | None, int | None]:
    """Address and port of the client."""
    address, _, port = str(event.get("client") or "").rpartition(":")
    return address.strip("[]") or None, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
