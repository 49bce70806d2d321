"""`outgate audit query`: SQL on the log."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from proxy import markdown, terminal
from proxy.cli.audit.answers import csv_lines
from proxy.cli.audit.options import form_options, log_of, log_options, reading_log, state_of


@click.command()
@click.argument("sql", metavar="SQL")
@log_options
@form_options
def query(sql: str, log: tuple[str, ...], state: str | None, config: Path | None, form: str) -> None:
    """Ask the log in SQL: one SELECT on the view `events`, in DuckDB's words. It can read nothing else.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has. JSON is a row a line.
    """
    from proxy.insight.query import check, prepare, rows

    with reading_log(log_of(log, state, config), state_of(state, config)) as logs:
        asked = check(sql)
        prepare(logs)
        titles, found = rows(logs.database, asked)
        terminal.progress()
        if form == "text":
            terminal.table(titles, [[_text(cell) for cell in row] for row in found])
        else:
            terminal.stream(_lines(titles, found, form))


def _lines(titles: list[str], found: Iterable[list[Any]], form: str) -> Iterator[str]:
    import json

    from proxy.insight.table import plain

    if form == "csv":
        yield from csv_lines(titles, ([plain(cell) for cell in row] for row in found))
    elif form == "markdown":
        yield from markdown.table(titles, ([_text(cell) for cell in row] for row in found))
    else:
        for row in found:
            yield json.dumps({title: plain(cell) for title, cell in zip(titles, row, strict=True)}) + "\n"


def _text(value: Any) -> str:
    import json

    from proxy.insight.table import plain

    made = plain(value)
    return "" if made is None else made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)
