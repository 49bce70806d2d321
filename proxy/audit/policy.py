"""The record of policies: which digest came into force, or was kept out of it, when, from which files and why.

A file of its own beside those of the workers, because one process writes each file.
"""

import contextlib
import math
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog

from proxy.audit.chained import ChainedLog
from proxy.audit.event import VERSION, Event
from proxy.audit.files import Options
from proxy.audit.sanitise import sanitise
from proxy.audit.sink import AuditUnavailable, encode
from proxy.errors import ConfigError
from proxy.exchange import new_id
from proxy.policy.rules import Policy

LOG = "policy"
TYPE = "policy"
_MAX_WAITING = 1000
_NEVER_CLOSED = Options(max_bytes=sys.maxsize, max_age=math.inf)  # a few lines for each change of a policy

type Result = Literal["loaded", "reloaded", "removed", "kept"]
type Trigger = Literal["start", "file", "SIGHUP"]

log = structlog.get_logger("audit")


def policy_records(
    old: Mapping[str, Policy], new: Mapping[str, Policy] | None, trigger: Trigger, *, error: str = ""
) -> Iterator[Event]:
    """One record for each policy before and after a change.

    With `error` the change was refused: `old` stays in force, and `new` is what was refused, None if it could not
    be compiled.
    """
    for name in sorted({*old, *(new or {})}):
        before, after = old.get(name), (new or {}).get(name)
        yield {
            "v": VERSION,
            "type": TYPE,
            "id": new_id(),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "policy": name,
            "result": _result(before, after, trigger, error),
            "old_digest": before.digest if before else None,
            "new_digest": after.digest if after else None,
            "trigger": trigger,
            "files": [_file(path) for path in _files(after or before)],
            "error": sanitise(error) if error else None,
        }


class PolicyLog:
    """The file `policy.jsonl` in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)

    def write(self, records: Iterable[Event]) -> None:
        """Write records in one go. Raises `AuditUnavailable`; then none of them is written."""
        lines = [*self._waiting, *map(encode, records)]
        if lines:
            try:
                append(self._folder, lines)
            except OSError as error:
                raise AuditUnavailable(os.strerror(error.errno or 0)) from error
            except ConfigError as error:
                raise AuditUnavailable(str(error)) from error
        self._waiting.clear()

    def note(self, records: Iterable[Event]) -> None:
        """Write records now, or as soon as `catch_up` can."""
        self._waiting.extend(map(encode, records))
        if not self.catch_up():
            log.error("a record of policies could not be written yet", waiting=len(self._waiting))

    def catch_up(self) -> bool:
        """Write what waits, if anything does; false if that is still not possible."""
        try:
            if self._waiting:
                self.write(())
        except AuditUnavailable:
            return False
        return True


def append(folder: Path, lines: Sequence[bytes]) -> None:
    """Write lines in one go. Raises `OSError`, or `ConfigError` if the file cannot be opened."""
    chained = ChainedLog(folder, LOG, _NEVER_CLOSED)
    try:
        chained.write(*lines)
    finally:
        chained.close()


def _result(before: Policy | None, after: Policy | None, trigger: Trigger, error: str) -> Result:
    if error:
        return "kept"
    if after is None:
        return "removed"
    return "loaded" if trigger == "start" or before is None else "reloaded"


def _files(policy: Policy | None) -> list[str]:
    """The policy's own file, and those that its rules stand in."""
    if policy is None:
        return []
    return list(dict.fromkeys((policy.source, *sorted({rule.where.rpartition(":")[0] for rule in policy.rules}))))


def _file(path: str) -> Event:
    """Path, owner (uid) and time of change of a file, as it is now."""
    named, uid, modified = path, None, None
    # A working folder or a file that is gone, a time that no calendar has: the record is written all the same.
    with contextlib.suppress(OSError, ValueError, OverflowError):
        named = str(Path(path).absolute())
        found = Path(path).stat()
        uid = found.st_uid
        modified = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="milliseconds")
    return {"path": sanitise(named), "uid": uid, "modified": modified}
