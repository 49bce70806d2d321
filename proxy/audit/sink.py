"""What one worker records: events, and a journal of what is in flight.

Owns "record, then forward": `begin` must succeed before a byte goes upstream, `finish` writes the one event.
The journal holds an open event for every exchange that was allowed and has no event in the log yet, so that
a worker that dies leaves nothing unrecorded; whoever opens the files next turns what is left there into events.

Events are encoded here and not by a logging library: the chain is over exact bytes, each line must be one write whose
failure is known to whoever would forward, and this is the one thing that every request pays for.
"""

import json
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from proxy.audit.chained import ChainedLog
from proxy.audit.event import Event, crashed, last_line, line_of, to_json
from proxy.audit.files import Options
from proxy.audit.journal import Journal
from proxy.audit.segments import live
from proxy.audit.stdout import StandardOutput
from proxy.errors import ConfigError
from proxy.exchange import Exchange
from proxy.quantity import counted

_MAX_UNWRITTEN = 10_000  # beside those of exchanges in the journal, which are as many as were in flight
_RETRY = 0.1  # seconds between two tries to write what waits, at the end

log = structlog.get_logger("audit")


class AuditUnavailable(Exception):
    """The audit log cannot be written: nothing may be forwarded."""


class _Output(Protocol):
    """Where events go. `write` takes whole lines, or raises `OSError` and is given the same ones again."""

    def write(self, *lines: bytes) -> None: ...

    def close(self) -> None: ...


class AuditSink:
    """The record of worker `number`, with its files in `folder`. Events are JSON lines, each written in one go.

    What an earlier writer of these files left in flight waits here as well, as events of their own.
    """

    def __init__(self, folder: Path, number: int, options: Options | None = None) -> None:
        options = options or Options()
        self.folder, self.number = folder, number
        name = f"worker-{number}"
        path, sync = _journal(folder, number), options.sync == "always"
        self._output: _Output
        if options.stdout:
            self._output = StandardOutput(folder / "stdout.lock")
            self._journal = Journal(path, None, sync=sync)
        else:
            self._output = chained = ChainedLog(folder, name, options)
            self._journal = Journal(path, live(folder, name), sync=sync)
            chained.before_closing = self._journal.catch_up
        self._unwritten: deque[tuple[str, bytes]] = deque(
            (left, encode(crashed(json.loads(line)))) for left, line in self._journal.in_flight.items()
        )
        self._since = time.monotonic()

    @property
    def waiting(self) -> int:
        """How many lines could not be written yet."""
        return len(self._unwritten)

    @property
    def lag(self) -> float:
        """For how many seconds the oldest of them has been waiting."""
        return time.monotonic() - self._since if self._unwritten else 0.0

    def try_again(self) -> None:
        """Write what waits, if that is possible by now: nobody may ask for anything meanwhile."""
        with suppress(AuditUnavailable):
            self._write_unwritten()

    def begin(self, exchange: Exchange) -> None:
        """Note that an allowed exchange starts. Raises `AuditUnavailable` if that cannot be written."""
        self._write_unwritten()
        try:
            self._journal.begin(exchange.id, line_of(exchange, end="open"))
        except OSError as error:
            raise AuditUnavailable(os.strerror(error.errno or 0)) from error

    def open_event(self, exchange: Exchange) -> None:
        """Record that a long exchange is under way, under the id that its last event will carry."""
        self._append("", line_of(exchange, end="open"))

    def finish(self, exchange: Exchange) -> None:
        """Write the event of an exchange, once. A disk that refuses it keeps it in memory and stops forwarding."""
        if exchange.recorded:
            return
        exchange.recorded = True
        begun = self._journal.in_flight.get(exchange.id)
        self._append(exchange.id, line_of(exchange) if begun is None else last_line(begun, exchange))

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
        self._output.close()
        self._journal.close()
        return self.waiting

    def _append(self, ends: str, line: bytes) -> None:
        """Write a line that ends this exchange (none, if empty), or keep it until that is possible."""
        if self.waiting >= _MAX_UNWRITTEN and ends not in self._journal.in_flight:
            log.error("audit event lost: too many wait", waiting=self.waiting)
            return
        if not self._unwritten:
            self._since = time.monotonic()
        self._unwritten.append((ends, line))
        try:
            self._write_unwritten()
        except AuditUnavailable as error:
            log.error("audit event could not be written", error=str(error), waiting=self.waiting)  # noqa: TRY400 - a full disk is no bug

    def _write_unwritten(self) -> None:
        while self._unwritten:
            ends, line = self._unwritten[0]
            try:
                self._output.write(line)
            except OSError as error:
                raise AuditUnavailable(os.strerror(error.errno or 0)) from error
            self._unwritten.popleft()
            self._journal.end(ends)


def recover(folder: Path, number: int, options: Options | None = None) -> int:
    """Write an event for each exchange that the dead worker `number` left in flight; returns how many.

    Raises `AuditUnavailable` if not all could be written. The journal keeps the others.
    """
    if not _journal(folder, number).exists():
        return 0
    try:
        left = AuditSink(folder, number, options)
        count = left.waiting
        unwritten = left.close()
    except OSError as error:
        raise AuditUnavailable(os.strerror(error.errno or 0)) from error
    except ConfigError as error:
        raise AuditUnavailable(str(error)) from error
    if unwritten:
        raise AuditUnavailable(f"{counted(unwritten, 'event')} could not be written")
    return count


def _journal(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.journal"


def encode(event: Event) -> bytes:
    """One line: compact ASCII JSON and a newline."""
    return to_json(event).encode() + b"\n"
