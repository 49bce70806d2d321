"""`outgate audit export`: events in the words of other systems."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.audit.answers import csv_lines
from proxy.cli.logs import open_log, tell_skipped
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.errors import OutgateError
    from proxy.review.log import Log


@click.command()
@click.argument("log", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(["ocsf", "ecs", "otlp", "csv", "parquet"]),
    required=True,
    help="The words to use.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.  [default: stdout]")
@state_option
@config_option
def export(log: tuple[str, ...], form: str, output: Path | None, state: str | None, config: Path | None) -> None:
    """Print events as OCSF HTTP Activity, ECS or OpenTelemetry's log records (JSON Lines), or as CSV; or write Parquet.

    LOG is a file, a folder (a state folder, or one with *.jsonl files) or - for stdin; gzip is recognised. Without any
    it is the log of the state folder. A long exchange has a line when it is under way and one at its end, with one id.
    """
    from proxy.settings import load_settings

    if form == "parquet" and output is None:
        raise click.UsageError("Parquet is for a file: name one with --output.")
    names = log or (str(load_settings({"state": state}, os.environ, Path.cwd(), config).state),)
    source = open_log(names)
    if form == "parquet" and output is not None:
        _write_parquet(output, source)
    elif output is None:
        terminal.stream(_lines(source, form))
    else:
        _write(output, _lines(source, form))
    tell_skipped(source)


def _lines(source: "Log", form: str) -> Iterator[str]:
    return _table(source) if form == "csv" else _documents(source, form)


def _documents(source: "Log", form: str) -> Iterator[str]:
    import json
    from importlib import import_module

    from proxy.review.seen import read_record

    mapped = getattr(import_module(f"proxy.audit.export.{form}"), form)
    for event in source.each(read_record):
        yield json.dumps(mapped(event), separators=(",", ":")) + "\n"


def _table(source: "Log") -> Iterator[str]:
    from proxy.audit.event import event_of
    from proxy.exchange import Exchange
    from proxy.policy.rules import Policy
    from proxy.review.seen import read_record

    columns = (*event_of(Exchange(sandbox="", policy=Policy())), "seq", "chain")
    yield from csv_lines(columns, (map(event.get, columns) for event in source.each(read_record)))


def _write_parquet(output: Path, source: "Log") -> None:
    from proxy.audit.export.parquet import write_parquet
    from proxy.review.seen import read_record

    try:
        wrong = write_parquet(source.each(read_record), output)
    except OSError as error:
        raise _unwritable(output, error) from None
    if wrong:
        terminal.note(f"warning: left out {wrong} values that are not of the type that their field has")


def _write(output: Path, lines: Iterator[str]) -> None:
    """Write a file that is there once it is whole."""
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
            draft.replace(output)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from None


def _unwritable(output: Path, error: OSError) -> "OutgateError":
    from proxy.errors import ConfigError
    from proxy.state import why

    return ConfigError(f"cannot write the file: {why(error)}", "choose another one with --output", str(output))
