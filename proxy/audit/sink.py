"""The audit files of one worker: the log, and the journal of what is in flight.

Owns "record, then forward": `begin` must succeed before a byte goes upstream, `finish` writes the one event.
The journal holds an open event for every exchange that was allowed and has no event in the log yet, so that
a worker that dies leaves nothing unrecorded; whoever opens the files next turns what is left there into events.
"""

import errno
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import structlog

from proxy.audit.event import Event, crashed, event_of
from proxy.errors import ConfigError
from proxy.exchange import Exchange

_JOURNAL_SIZE = 1 << 20
_MAX_UNWRITTEN = 10_000  # beside those of exchanges in the journal, which are as many as were in flight
_RETRY = 0.1  # seconds between two tries to write what waits, at the end
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

log = structlog.get_logger("audit")


class AuditUnavailable(Exception):
    """The audit log cannot be written: nothing may be forwarded."""


class AuditSink:
    """The files of worker `number` in `folder`. Events are JSON lines, each written by one `write` call.

    What an earlier writer of these files left in flight waits here as well, as events of their own.
    """

    def __init__(self, folder: Path, number: int) -> None:
        log_path, self._journal_path = _paths(folder, number)
        self._log = _open(log_path)
        self._journal = _open(self._journal_path)
        self._compact_at = _JOURNAL_SIZE
        # The line in the journal of each exchange that has no event in the log yet.
        self._in_flight = _left_open(self._journal_path, log_path)
        self._journal_bytes = os.fstat(self._journal).st_size
        self._unwritten: deque[tuple[str, bytes]] = deque(
            (left, encode(crashed(json.loads(line)))) for left, line in self._in_flight.items()
        )

    @property
    def waiting(self) -> int:
        """How many lines could not be written yet."""
        return len(self._unwritten)

    def begin(self, exchange: Exchange) -> None:
        """Note that an allowed exchange starts. Raises `AuditUnavailable` if that cannot be written."""
        self._write_unwritten()
        line = encode({**event_of(exchange), "end": "open"})
        try:
            _write(self._journal, line)
        except OSError as error:
            raise AuditUnavailable(os.strerror(error.errno or 0)) from error
        self._in_flight[exchange.id] = line
        self._journal_bytes += len(line)

    def open_event(self, exchange: Exchange) -> None:
        """Record that a long exchange is under way, under the id that its last event will carry."""
        self._append("", encode({**event_of(exchange), "end": "open"}))

    def finish(self, exchange: Exchange) -> None:
        """Write the event of an exchange, once. A disk that refuses it keeps it in memory and stops forwarding."""
        if exchange.recorded:
            return
        exchange.recorded = True
        self._append(exchange.id, encode(event_of(exchange)))

    def close(self, patience: float = 0.0) -> int:
        """Write what waits, for at most `patience` seconds, and let go of the files; how many lines were not written.

        Of those, the journal holds the exchanges that were forwarded: `recover` writes an event for each.
        """
        deadline = time.monotonic() + patience
        while self._unwritten:
            try:
                self._write_unwritten()
            except AuditUnavailable as error:
                if time.monotonic() >= deadline:
                    log.error("audit events are not in the log", error=str(error), waiting=self.waiting)  # noqa: TRY400 - a full disk is no bug
                    break
                time.sleep(_RETRY)
        if not self._in_flight and self._journal_bytes:
            os.ftruncate(self._journal, 0)
        os.close(self._log)
        os.close(self._journal)
        return self.waiting

    def _append(self, ends: str, line: bytes) -> None:
        """Write a line that ends this exchange (none, if empty), or keep it until that is possible."""
        if self.waiting >= _MAX_UNWRITTEN and ends not in self._in_flight:
            log.error("audit event lost: too many wait", waiting=self.waiting)
            return
        self._unwritten.append((ends, line))
        try:
            self._write_unwritten()
        except AuditUnavailable as error:
            log.error("audit event could not be written", error=str(error), waiting=self.waiting)  # noqa: TRY400 - a full disk is no bug

    def _write_unwritten(self) -> None:
        while self._unwritten:
            ends, line = self._unwritten[0]
            try:
                _write(self._log, line)
            except OSError as error:
                raise AuditUnavailable(os.strerror(error.errno or 0)) from error
            self._unwritten.popleft()
            self._settle(ends)

    def _settle(self, exchange_id: str) -> None:
        """Take an exchange whose event stands in the log out of the journal."""
        if self._in_flight.pop(exchange_id, None) is None:
            return
        line = b'{"ended":"%s"}\n' % exchange_id.encode()
        try:
            _write(self._journal, line)
            self._journal_bytes += len(line)
            if self._journal_bytes > self._compact_at:
                self._compact_at = self._journal_bytes + _JOURNAL_SIZE  # if it fails now, try again then
                self._compact()
        except (OSError, ConfigError) as error:
            # The event itself stands in the log; a leftover here is found there by `recover`.
            log.error("audit journal could not be written", error=str(error))  # noqa: TRY400 - a full disk is no bug

    def _compact(self) -> None:
        """Replace the journal, in one step, by one that holds only what is in flight."""
        kept = b"".join(self._in_flight.values())
        fresh = self._journal_path.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        replacement = _open(fresh)
        try:
            _write(replacement, kept)
            fresh.replace(self._journal_path)
        except OSError:
            os.close(replacement)
            raise
        os.close(self._journal)
        self._journal = replacement
        self._journal_bytes = len(kept)
        self._compact_at = max(_JOURNAL_SIZE, 2 * len(kept))


def recover(folder: Path, number: int) -> int:
    """Write an event for each exchange that the dead worker `number` left in flight; returns how many.

    Raises `AuditUnavailable` if not all could be written. The journal keeps the others.
    """
    if not _paths(folder, number)[1].exists():
        return 0
    try:
        left = AuditSink(folder, number)
        count = left.waiting
        unwritten = left.close()
    except OSError as error:
        raise AuditUnavailable(os.strerror(error.errno or 0)) from error
    except ConfigError as error:
        raise AuditUnavailable(str(error)) from error
    if unwritten:
        raise AuditUnavailable(f"{unwritten} events could not be written")
    return count


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"worker-{number}.jsonl", folder / f"worker-{number}.journal"


def _left_open(journal: Path, log_path: Path) -> dict[str, bytes]:
    """What a journal holds that has neither ended nor an event in the log: its line, by the id of the exchange."""
    left: dict[str, bytes] = {}
    for entry in _read_lines(journal):
        if "ended" in entry:
            left.pop(str(entry["ended"]), None)
        elif isinstance(entry.get("id"), str):
            left[str(entry["id"])] = encode(entry)
    if left:
        for event in _read_lines(log_path):
            if event.get("end") != "open":
                left.pop(str(event.get("id")), None)
    return left


def encode(event: Event) -> bytes:
    """One line: compact ASCII JSON and a newline."""
    return _to_json(event).encode() + b"\n"


def _read_lines(path: Path) -> Iterator[Event]:
    with path.open("rb") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed writer
                continue
            if isinstance(entry, dict):
                yield entry


def append(path: Path, lines: bytes) -> None:
    """Write whole lines at the end of a log. Raises `OSError`, or `ConfigError` if it cannot be opened."""
    fd = _open(path)
    try:
        _write(fd, lines)
    finally:
        os.close(fd)


def _write(fd: int, line: bytes) -> None:
    if not line:
        return
    written = os.write(fd, line)
    if written != len(line):
        # A full disk can take half a line. Cut it off again, so that the next one starts where a line starts.
        os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise OSError(errno.ENOSPC, "short write")


def _open(path: Path) -> int:
    fd = -1
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o600)
        _end_last_line(fd)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise ConfigError(
            f"cannot open the audit log: {os.strerror(error.errno or 0)}",
            "make the state folder writable, or name another one with --state",
            str(path),
        ) from error
    return fd


def _end_last_line(fd: int) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")
