"""`outgate audit show`: one exchange."""

import json
from pathlib import Path
from typing import Any

import click

from proxy import markdown, terminal
from proxy.cli.audit.answers import csv_lines
from proxy.cli.audit.options import form_options, log_of, log_options

_NOT_FOUND = 1


@click.command()
@click.argument("id", metavar="ID")
@log_options
@form_options
@click.pass_context
def show(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    id: str,  # noqa: A002  as it is called everywhere
    log: tuple[str, ...],
    state: str | None,
    config: Path | None,
    form: str,
) -> None:
    """Show one exchange by the id that refusals carry as `audit_id`.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    Exit codes: 0 found, 1 not found, 2 misuse.
    """
    from proxy.insight.find import check_id, find
    from proxy.insight.sources import opened

    wanted = check_id(id)
    with opened(log_of(log, state, config)) as sources:
        found, broken = find(sources, wanted, lambda name: terminal.progress(f"looking into {name}"))
    terminal.progress()
    for name in broken:
        terminal.note(f"warning: {name}: the file is damaged; its rest could not be looked into")
    if form == "json":
        terminal.as_json({"events": found, "broken": broken})
    elif found:
        _give(found[-1], form)
    if not found:
        terminal.note(f"no event has the id {wanted}")
    context.exit(0 if found else _NOT_FOUND)


def _give(event: dict[str, Any], form: str) -> None:
    if form == "csv":
        terminal.stream(csv_lines(list(event), [event.values()]))
        return
    pairs = [(key, _text(value)) for key, value in event.items() if value not in (None, "", [])]
    if words := _words(event["reason"]):
        pairs.insert(0, ("", words))
    if form == "markdown":
        terminal.stream(markdown.table(("field", "value"), pairs))
    else:
        terminal.facts((key, terminal.clean(value, lines=False)) for key, value in pairs)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(reason: str) -> str:
    from proxy.policy.reason import WORDING, Reason

    return WORDING[Reason(reason)].title
