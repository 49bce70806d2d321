"""What the commands that read audit logs share: their options, and how a log is opened and spoken of."""

import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.quantity import counted

if TYPE_CHECKING:
    from proxy.policy.rules import Policy
    from proxy.review.log import Log
    from proxy.review.replay import Filter

_AGO = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def log_options[F: Callable[..., Any]](command: F) -> F:
    """The argument LOG and the options that choose among its events."""
    for add in (
        click.option("--since", metavar="TIME", help="Only events since then: 2026-11-20, 2026-11-20T10:00, 8h, 7d."),
        click.option("--sandbox", metavar="NAME", multiple=True, help="Only events of this sandbox. Repeatable."),
        click.argument("log", nargs=-1, required=True),
    ):
        command = add(command)
    return command


def open_log(names: Sequence[str]) -> "Log":
    """The log, with progress on a terminal. Raises `ConfigError` for what is not there."""
    from proxy.review.log import Log

    return Log(
        names,
        sys.stdin.buffer if "-" in names else None,
        lambda lines: terminal.progress(f"{counted(lines, 'line')} read"),
    )


def choose_events(sandboxes: Sequence[str], since: str | None) -> "Filter":
    """The filter that the options mean. Raises `ConfigError` for what is no time."""
    from proxy.review.replay import Filter

    return Filter(frozenset(sandboxes), None if since is None else _time(since))


def _time(text: str) -> datetime:
    from proxy.errors import ConfigError

    try:
        if (ago := _AGO.fullmatch(text)) is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "write a day (2026-11-20), a time in UTC (2026-11-20T10:00), or how long ago (8h, 7d)"
        raise ConfigError(f"not a time: {text[:40]!r}", hint) from None


def load_named(paths: Sequence[str], name: str | None) -> "tuple[Policy, ...]":
    """The policies of files and folders; the one that is named, if a name is given. Raises `ConfigError`."""
    from proxy.config.load import load_policies
    from proxy.errors import ConfigError

    policies = load_policies([Path(path) for path in paths])
    if name is None:
        return policies
    found = tuple(policy for policy in policies if policy.name == name)
    if not found:
        known = ", ".join(policy.name for policy in policies)
        raise ConfigError(f"there is no policy {name!r}", f"choose one of {known}")
    return found


def tell_skipped(log: "Log") -> None:
    """Say on stderr what of the log could not be read. Nothing that was left out is left unsaid.

    Raises `ConfigError` if none of it is an audit log: what is said of nothing would look like good news.
    """
    from proxy.errors import ConfigError

    terminal.progress()
    for text in unread(log):
        terminal.note(text)
    if log.skipped and not log.understood:
        hint = "name a state folder, or files of its folder audit; - reads them from stdin"
        raise ConfigError("no line of it is an audit event", hint, ", ".join(log.files))


def unread(log: "Log") -> list[str]:
    """The same in lines: how many lines were skipped, which were the first, and what may be counted twice."""
    lines = []
    if log.skipped:
        lines.append(f"warning: skipped {counted(log.skipped, 'damaged or foreign line')}")
        lines += [f"  {name}" for name in log.named]
        if log.skipped > len(log.named):
            lines.append(f"  and {log.skipped - len(log.named)} more")
    if log.unsure:
        lines.append("warning: so many long exchanges that some may be counted twice")
    return lines


def facts_of(log: "Log") -> dict[str, Any]:
    """What JSON says of a log: what was read, and what was not."""
    return {
        "files": log.files,
        "lines": log.lines,
        "events": log.events,
        "joined": log.joined,
        "skipped": log.skipped,
        "skipped_first": log.named,
        "counted_twice_possible": log.unsure,
    }


def utc_today() -> date:
    """The day that `expires` is compared with."""
    return datetime.now(UTC).date()
