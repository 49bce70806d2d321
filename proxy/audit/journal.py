"""The journal of one worker: the exchanges that were allowed and have no event in the log yet."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from proxy.audit import files
from proxy.audit.event import Event
from proxy.errors import ConfigError

_JOURNAL_SIZE = 1 << 20
_ID = b'{"v":1,"id":"'  # how an event begins; then comes its id

log = structlog.get_logger("audit")


class Journal:
    """The journal at `path`. `in_flight` is what it holds, as lines by the id of the exchange, `known` the log in which
    an event may stand though the journal does not say so: its writer died in between.
    """

    def __init__(self, path: Path, known: Path | None, *, sync: bool = False) -> None:
        self._path, self._sync = path, sync
        self._fd = files.open_append(path)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            os.write(self._fd, b"\n")
        self._compact_at = _JOURNAL_SIZE
        self._behind = False  # whether it holds what the log has already
        self.in_flight = _read(path)
        if self.in_flight and known is not None:
            _drop_known(self.in_flight, known)

    def begin(self, exchange_id: str, line: bytes) -> None:
        """Note that an exchange starts. Raises `OSError`."""
        files.write(self._fd, line, sync=self._sync)
        self.in_flight[exchange_id] = line
        self._size += len(line)

    def end(self, exchange_id: str) -> None:
        """Take out an exchange whose event stands in the log."""
        if self.in_flight.pop(exchange_id, None) is None:
            return
        line = b'{"ended":"%s"}\n' % exchange_id.encode()
        try:
            files.write(self._fd, line)
            self._size += len(line)
            if self._size > self._compact_at:
                self._compact_at = self._size + _JOURNAL_SIZE  # if it fails now, try again then
                self._compact()
        except (OSError, ConfigError) as error:
            # The event itself stands in the log; a leftover here is found there by the next one to open it.
            self._behind = True
            log.error("audit journal could not be written", error=str(error))  # noqa: TRY400 - a full disk is no bug

    def catch_up(self) -> None:
        """Take out what the log has, if that failed before: the file in which it is looked for is closed now.

        Raises `OSError` or `ConfigError`.
        """
        if self._behind:
            self._compact()

    def _compact(self) -> None:
        """Replace the journal, in one step, by one that holds only what is in flight."""
        kept = b"".join(self.in_flight.values())
        fresh = self._path.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        replacement = files.open_append(fresh)
        try:
            files.write(replacement, kept, sync=self._sync)
            fresh.replace(self._path)
        except OSError:
            os.close(replacement)
            raise
        os.close(self._fd)
        self._fd, self._size, self._behind = replacement, len(kept), False
        self._compact_at = max(_JOURNAL_SIZE, 2 * len(kept))

    def close(self) -> None:
        if not self.in_flight and self._size:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)


def _read(path: Path) -> dict[str, bytes]:
    """The line of each exchange that has not ended, by its id."""
    left: dict[str, bytes] = {}
    for line, entry in _entries(path):
        if "ended" in entry:
            left.pop(str(entry["ended"]), None)
        elif isinstance(entry.get("id"), str):
            left[str(entry["id"])] = line
    return left


def _drop_known(left: dict[str, bytes], log_path: Path) -> None:
    """Drop the exchanges that have their last event in a log."""
    for _, event in _entries(log_path, {each.encode() for each in left}):
        if event.get("end") != "open":
            left.pop(str(event.get("id")), None)


def _entries(path: Path, ids: set[bytes] | None = None) -> Iterator[tuple[bytes, Event]]:
    """The lines of a file that hold a JSON object; of events, those with these ids."""
    with path.open("rb") as lines:
        for line in lines:
            if ids is not None and line.startswith(_ID) and line[len(_ID) :][:26] not in ids:
                continue
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed writer
                continue
            if isinstance(entry, dict):
                yield line, entry
