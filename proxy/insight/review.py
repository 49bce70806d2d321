"""The mark of the last review: until when somebody has looked at the log. A line for each review in `reviews.jsonl`."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy.audit.files import write
from proxy.errors import ConfigError
from proxy.state import why

FILE = "reviews.jsonl"
_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A review: what was on record until then is known. Both times are in UTC, without zone."""

    until: datetime
    time: datetime


def last_mark(state: Path) -> Mark | None:
    """The last review; None if there was none. Raises `ConfigError` for a file that cannot be read."""
    path = state / FILE
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read when the log was reviewed: {why(error)}", "", str(path)) from None
    if not lines:
        return None
    try:
        found = json.loads(lines[-1])
        return Mark(_time(found["until"]), _time(found["time"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        hint = "remove its last line, or the file; then all is new"
        raise ConfigError("the last line is no mark of a review", hint, str(path)) from None


def put_mark(state: Path, until: datetime) -> Mark:
    """Write that the log was reviewed up to a time. Raises `ConfigError`."""
    made = Mark(until, datetime.now(UTC).replace(tzinfo=None))
    line = {"v": 1, "time": _text(made.time), "until": _text(until), "uid": os.getuid()}
    path = state / FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write(fd, json.dumps(line).encode() + b"\n", sync=True)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(
            f"cannot write the mark: {why(error)}", "name the state folder with --state", str(path)
        ) from None
    return made


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds") + "Z"
