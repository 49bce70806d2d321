"""What the commands that review the log share: their options, and the log that they mean."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.insight.logs import Logs
    from proxy.insight.overview import Wanted


def log_options[F: Callable[..., Any]](command: F) -> F:
    """The argument LOG, and the state folder that is meant without it."""
    for add in (config_option, state_option, click.argument("log", nargs=-1)):
        command = add(command)
    return command


@dataclass(frozen=True, slots=True)
class Asked:
    """What the argument and options that reviews share say: which log, and which of its events."""

    log: Sequence[str]
    state: str | None
    config: Path | None
    since: str | None
    sandbox: Sequence[str]
    policy: Sequence[str]

    def names(self) -> Sequence[str]:
        """The log that is meant."""
        return log_of(self.log, self.state, self.config)

    def folder(self) -> Path:
        """The state folder, which has the marks of reviews."""
        return state_of(self.state, self.config)

    def wanted(self) -> "Wanted":
        """The events that are meant. Raises `ConfigError` for what is no time."""
        from proxy.insight.overview import Wanted

        return Wanted(None if self.since is None else time_of(self.since), self.sandbox, self.policy)


def review_options(command: Callable[..., None]) -> Callable[..., None]:
    """The argument LOG, and the options that choose among its events; the command gets them as one `asked`."""

    @wraps(command)
    def ask(**given: Any) -> None:
        asked = Asked(**{each.name: given.pop(each.name) for each in fields(Asked)})
        command(asked, **given)

    return log_options(_filter_options(ask))


def _filter_options[F: Callable[..., Any]](command: F) -> F:
    for add in (
        click.option("--policy", metavar="NAME", multiple=True, help="Only events under this policy. Repeatable."),
        click.option("--sandbox", metavar="NAME", multiple=True, help="Only events of this sandbox. Repeatable."),
        click.option("--since", metavar="TIME", help="Only events since then: 2026-11-20, 2026-11-20T10:00, 8h, 7d."),
    ):
        command = add(command)
    return command


def form_options[F: Callable[..., Any]](command: F) -> F:
    """How to print. The value is `text`, `json`, `csv` or `markdown`."""
    for name, what in (("markdown", "Markdown"), ("csv", "CSV"), ("json", "JSON")):
        command = click.option(f"--{name}", "form", flag_value=name, default="text", help=f"Print {what}.")(command)
    return command


def state_of(state: str | None, config: Path | None) -> Path:
    """The state folder that the options, the environment or the settings file name."""
    from proxy.settings import load_settings

    return load_settings({"state": state}, os.environ, Path.cwd(), config).state


def log_of(log: Sequence[str], state: str | None, config: Path | None) -> Sequence[str]:
    """The log that is meant: what is named, or that of the state folder."""
    return log or (str(state_of(state, config)),)


def time_of(text: str) -> datetime:
    """A time as `--since` has it, in UTC, without zone. Raises `ConfigError`."""
    from proxy.cli.logs import choose_events

    time = choose_events((), text).since
    return (time or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)


@contextmanager
def reading_log(names: Sequence[str], state: Path) -> "Iterator[Logs]":
    """The log, open to be asked, with progress on a terminal; at the end stderr says what could not be read of it.

    `state` is the folder that keeps what was found in closed files.
    """
    from proxy.insight.logs import reading

    with reading(names, lambda percent: terminal.progress(f"{percent:.0f} % read"), state) as logs:
        try:
            yield logs
        finally:
            terminal.progress()
        for note in logs.notes():
            terminal.note(note)
