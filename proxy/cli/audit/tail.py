"""`outgate audit tail`: the last events, and those that come."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import markdown, terminal
from proxy.cli.audit.answers import csv_lines
from proxy.cli.audit.options import form_options, state_of
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.insight.follow import Event

_COLUMNS = ("time", "sandbox", "verdict", "method", "request", "reason", "rule", "status", "sent", "received", "id")


@click.command()
@state_option
@config_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--filter",
    "filters",
    metavar="FIELD=PATTERN",
    multiple=True,
    help="Only events whose field is like this: verdict=deny, host=*.example.com, sandbox!=ci-*. Repeatable.",
)
@click.option(
    "--lines", "-n", type=click.IntRange(0, 100_000), default=20, show_default=True, help="Events to begin with."
)
@form_options
def tail(  # noqa: PLR0913, PLR0917  one parameter for each option
    state: str | None, config: Path | None, follow: bool, filters: tuple[str, ...], lines: int, form: str
) -> None:
    """Show the last events of the running proxies, and with --follow those that come.

    Shown is what is in the files that are written now, those of `outgate run` included. JSON is one event a line.
    """
    from proxy.errors import ConfigError
    from proxy.insight.follow import Tail, matcher

    takes, root = matcher(filters), state_of(state, config)
    folders = [each for each in (root / "audit", *sorted(root.glob("runs/*/audit"))) if each.is_dir()]
    if not folders:
        raise ConfigError("there is no audit log", "name its state folder with --state", str(root))
    tail = Tail(folders)
    last = tail.last(lines, takes)

    def events() -> "Iterator[Event]":
        yield from last
        if follow:
            yield from tail.follow(takes)

    for line in _lines(events(), form):
        terminal.stream([line])
    if tail.skipped:
        terminal.note(f"warning: skipped {tail.skipped} damaged or foreign lines")


def _lines(events: "Iterable[Event]", form: str) -> Iterator[str]:
    if form == "json":
        yield from (json.dumps(event, separators=(",", ":")) + "\n" for event in events)
    elif form == "csv":
        yield from csv_lines(_COLUMNS, map(_row, events))
    elif form == "markdown":
        yield from markdown.table(
            _COLUMNS, (["" if cell is None else str(cell) for cell in _row(each)] for each in events)
        )
    else:
        for event in events:
            yield terminal.clean(_text(event), lines=False) + "\n"


def _row(event: "Event") -> list[Any]:
    return [
        event["time"],
        event["sandbox"],
        event["verdict"],
        event["method"],
        _request(event),
        event["reason"],
        event["rule"],
        event.get("status"),
        event.get("bytes_out"),
        event.get("bytes_in"),
        event["id"],
    ]


def _request(event: "Event") -> str:
    usual = {"https": 443, "http": 80}.get(event["scheme"])
    port = "" if event.get("port") in (usual, None) else f":{event['port']}"
    return f"{event['scheme'] + '://' if event['scheme'] else ''}{event['host'] or '?'}{port}{event['path']}"


def _text(event: "Event") -> str:
    words = [
        event["time"][:23].replace("T", " "),
        event["sandbox"] or "-",
        event["verdict"],
        event["method"],
        _request(event),
    ]
    if event["reason"] != "allowed":
        words.append(event["reason"])
    words.append(str(event.get("status") or "-"))
    if event["end"] not in ("complete", "refused"):
        words.append(event["end"])
    return "  ".join([*words, event["id"]])
