"""The audit files of one worker: the log, and the journal of what is in flight.

Owns "record, then forward": `begin` must succeed before a byte goes upstream, `finish` writes the one event.
The journal holds an open event for every exchange that was allowed and has not ended, so that
a worker that dies leaves nothing unrecorded; `recover` turns what is left there into events.
"""

import errno
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import structlog

from proxy.audit.event import Event, crashed, event_of
from proxy.errors import ConfigError
from proxy.exchange import Exchange

_JOURNAL_SIZE = 1 << 20
_MAX_UNWRITTEN = 10_000
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

log = structlog.get_logger("audit")


class AuditUnavailable(Exception):
    """The audit log cannot be written: nothing may be forwarded."""


class AuditSink:
    """The files of worker `number` in `folder`. Events are JSON lines, each written by one `write` call."""

    def __init__(self, folder: Path, number: int) -> None:
        self._log = _open(folder / f"worker-{number}.jsonl", os.O_APPEND)
        self._journal_path = folder / f"worker-{number}.journal"
        self._journal = _open(self._journal_path, os.O_APPEND)
        self._compact_at = _JOURNAL_SIZE
        self._in_flight: dict[str, bytes] = {}
        self._journal_bytes = 0
        self._unwritten: deque[bytes] = deque()

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
        self._append(encode({**event_of(exchange), "end": "open"}))

    def finish(self, exchange: Exchange) -> None:
        """Write the event of an exchange, once. A disk that refuses it keeps it in memory and stops forwarding."""
        if exchange.recorded:
            return
        exchange.recorded = True
        kept = self._append(encode(event_of(exchange)))
        if kept and exchange.id in self._in_flight:
            self._settle(exchange.id)

    def close(self) -> None:
        os.close(self._log)
        os.close(self._journal)

    def _append(self, line: bytes) -> bool:
        """Write a line, or keep it for later; false if there was no room for it either."""
        try:
            self._write_unwritten()
            _write(self._log, line)
        except (OSError, AuditUnavailable) as error:
            log.error("audit event could not be written", error=str(error), waiting=len(self._unwritten) + 1)  # noqa: TRY400 - a full disk is no bug
            if len(self._unwritten) >= _MAX_UNWRITTEN:
                return False
            self._unwritten.append(line)
        return True

    def _write_unwritten(self) -> None:
        while self._unwritten:
            try:
                _write(self._log, self._unwritten[0])
            except OSError as error:
                raise AuditUnavailable(os.strerror(error.errno or 0)) from error
            self._unwritten.popleft()

    def _settle(self, exchange_id: str) -> None:
        del self._in_flight[exchange_id]
        try:
            if self._journal_bytes > self._compact_at:
                self._compact()
            else:
                line = b'{"ended":"%s"}\n' % exchange_id.encode()
                _write(self._journal, line)
                self._journal_bytes += len(line)
        except OSError as error:
            # The event itself stands in the log; a leftover here is found there by `recover`.
            log.error("audit journal could not be written", error=str(error))  # noqa: TRY400 - a full disk is no bug

    def _compact(self) -> None:
        """Replace the journal, in one step, by one that holds only what is in flight."""
        kept = b"".join(self._in_flight.values())
        fresh = self._journal_path.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        replacement = _open(fresh, os.O_APPEND)
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
    """Write an event for each exchange that the dead worker `number` left in flight; returns how many."""
    journal = folder / f"worker-{number}.journal"
    if not journal.exists():
        return 0
    open_events: dict[str, Event] = {}
    for entry in _read_lines(journal):
        if "ended" in entry:
            open_events.pop(str(entry["ended"]), None)
        elif isinstance(entry.get("id"), str):
            open_events[str(entry["id"])] = entry
    if open_events:
        for event in _read_lines(folder / f"worker-{number}.jsonl"):
            if event.get("end") != "open":
                open_events.pop(str(event.get("id")), None)
        _append_all(folder / f"worker-{number}.jsonl", [encode(crashed(event)) for event in open_events.values()])
    journal.write_bytes(b"")
    return len(open_events)


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


def _append_all(path: Path, lines: list[bytes]) -> None:
    fd = _open(path, os.O_APPEND)
    try:
        for line in lines:
            _write(fd, line)
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


def _open(path: Path, flags: int) -> int:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        _end_last_line(fd)
    except OSError as error:
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
