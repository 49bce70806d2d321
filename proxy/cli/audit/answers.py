"""An answer of the review commands as text, JSON, CSV or Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxy import markdown, terminal

if TYPE_CHECKING:
    from proxy.insight.table import Answer, Table


def give(answer: "Answer", form: str, log: Mapping[str, Any]) -> None:
    """Print an answer; `log` is what JSON says of what was read."""
    if form == "json":
        _json(answer, log)
    elif form == "csv":
        terminal.stream(_csv(answer))
    elif form == "markdown":
        _markdown(answer)
    else:
        _text(answer)


def _text(answer: "Answer") -> None:
    for line in answer.lines:
        terminal.say(terminal.clean(line, lines=False))
    for table in answer.tables:
        terminal.say()
        terminal.say(_title(table))
        if table.rows:
            terminal.table(table.titles, table.cells())
        else:
            terminal.say("none")
    for title, block in answer.blocks:
        terminal.say()
        terminal.say(terminal.clean(title, lines=False))
        terminal.say(block)
    if answer.last:
        terminal.say()
        terminal.say(terminal.clean(answer.last, lines=False))


def _title(table: "Table") -> str:
    words = [f"{table.title.upper()}"]
    if table.rows and table.more:
        words.append(f"the first {len(table.rows)} of {len(table.rows) + table.more}")
    if table.about:
        words.append(table.about)
    return words[0] if len(words) == 1 else f"{words[0]} ({'; '.join(words[1:])})"


def _json(answer: "Answer", log: Mapping[str, Any]) -> None:
    from proxy.insight.table import plain

    tables = {table.key: table.records() for table in answer.tables}
    more = {table.key: table.more for table in answer.tables if table.more}
    terminal.as_json({"log": log, **plain(answer.facts), **tables, "not_shown": more})


def _csv(answer: "Answer") -> Iterator[str]:
    """Each table with its titles; if there are several, a line with its name before and an empty one after."""
    several = len(answer.tables) > 1
    for number, table in enumerate(answer.tables):
        if several:
            yield ("\n" if number else "") + f"# {table.key}\n"
        yield from csv_lines([column.key for column in table.columns], (each.values() for each in table.records()))


class _Line:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def csv_lines(titles: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Rows as CSV that is safe to open in a spreadsheet and on a terminal."""
    import csv
    from itertools import chain

    from proxy.audit.export.table import cells

    writer = csv.writer(_Line(), lineterminator="\n")
    for row in chain([titles], rows):
        named = {str(number): value for number, value in enumerate(row)}
        yield terminal.clean(str(writer.writerow(cells(named, tuple(named)))))


def _markdown(answer: "Answer") -> None:
    for line in answer.lines:
        terminal.say(f"- {markdown.escaped(line)}")
    for table in answer.tables:
        terminal.say()
        terminal.say(f"### {markdown.escaped(table.title)}")
        terminal.say()
        if table.rows:
            terminal.stream(markdown.table(table.titles, table.cells()))
        else:
            terminal.say("none")
        for note in (f"and {table.more:,} more" if table.more else "", table.about):
            if note:
                terminal.say()
                terminal.say(markdown.escaped(note))
    for title, block in answer.blocks:
        terminal.say()
        terminal.say(markdown.escaped(title))
        terminal.say()
        terminal.say("\n".join(f"    {line}" for line in block.splitlines()))
    if answer.last:
        terminal.say()
        terminal.say(markdown.escaped(answer.last))
