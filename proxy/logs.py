"""Operational messages, to stderr: for people in a terminal, JSON lines elsewhere. Never the audit.

Exceptions are shown as their type and the lines of code they passed, without their message and without
values: either can hold what a client or an upstream sent, or a secret. Of libraries' messages the origin is kept.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

_FRAMES = 12


def configure() -> None:
    """Set up structlog and the standard library's logging for this process. May be called again."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=terminal) if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_values,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy())),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Origin()], force=True)


def _without_values(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if event.pop("exc_info", None):
        error = sys.exc_info()[1]
        if error is not None:
            frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            event["error"] = type(error).__name__
            event["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event


class _Lossy:
    """Standard error. What cannot be written there (a full disk, a closed stream) is dropped: it stops nothing."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


class _Origin(logging.Handler):
    """Says that a library logged something, and where; not what."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        structlog.get_logger(record.name).warning(
            "library message", level_name=record.levelname, line=f"{record.module}:{record.lineno}", error=error
        )
