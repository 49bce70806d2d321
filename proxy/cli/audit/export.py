"""`outgate audit export`: events in the words of other systems."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.logs import open_log, tell_skipped
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.review.log import Log


@click.command()
@click.argument("log", nargs=-1)
@click.option("--format", "form", type=click.Choice(["ocsf", "ecs", "csv"]), required=True, help="The words to use.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.  [default: stdout]")
@state_option
@config_option
def export(log: tuple[str, ...], form: str, output: Path | None, state: str | None, config: Path | None) -> None:
    """Print events as OCSF HTTP Activity or ECS (JSON Lines), or as CSV, one by one as they are read.

    LOG is a file, a folder (a state folder, or one with *.jsonl files) or - for stdin; gzip is recognised. Without any
    it is the log of the state folder. A long exchange has a line when it is under way and one at its end, with one id.
    """
    from proxy.settings import load_settings

    names = log or (str(load_settings({"state": state}, os.environ, Path.cwd(), config).state),)
    source = open_log(names)
    lines = _table(source) if form == "csv" else _documents(source, form)
    if output is None:
        terminal.stream(lines)
    else:
        _write(output, lines)
    tell_skipped(source)


def _documents(source: "Log", form: str) -> Iterator[str]:
    import json

    from proxy.audit.export.ecs import ecs
    from proxy.audit.export.ocsf import ocsf
    from proxy.review.seen import read_record

    mapped = ocsf if form == "ocsf" else ecs
    for event in source.each(read_record):
        yield json.dumps(mapped(event), separators=(",", ":")) + "\n"


class _Line:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def _table(source: "Log") -> Iterator[str]:
    import csv

    from proxy.audit.event import event_of
    from proxy.audit.export.table import cells
    from proxy.exchange import Exchange
    from proxy.policy.rules import Policy
    from proxy.review.seen import read_record

    columns = (*event_of(Exchange(sandbox="", policy=Policy())), "seq", "chain")
    rows = csv.writer(_Line(), lineterminator="\n")
    yield str(rows.writerow(columns))
    for event in source.each(read_record):
        yield str(rows.writerow(cells(event, columns)))


def _write(output: Path, lines: Iterator[str]) -> None:
    """Write a file that is there once it is whole."""
    from proxy.errors import ConfigError
    from proxy.state import why

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
        hint = "choose another one with --output"
        raise ConfigError(f"cannot write the file: {why(error)}", hint, str(output)) from None
