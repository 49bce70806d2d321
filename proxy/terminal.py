"""The only code that prints.

Rules for output:

- stdout carries what was asked for, and nothing else, so that it can be piped; everything else goes to stderr.
- A problem is one line `error: WHERE: KEY: MESSAGE`, then, if there is one, a line `hint: WHAT TO DO`.
- Messages are lower-case and end without a full stop.
- Tables are drawn by rich on a terminal and are aligned plain text everywhere else. JSON is one document per command.
- Control characters that come from outside (names, paths, URLs) are shown escaped, never sent to the terminal.
- No secret value is ever given to this module. The one exception that reaches stdout is a sandbox's own
  token and placeholders, which `outgate env` exists to print.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterable, Sequence

from proxy.errors import OutgateError, Problem


def say(text: str = "") -> None:
    """Print lines of the answer to stdout, at once: a process that waits for them must not wait for a buffer."""
    print(clean(text), flush=True)


def stream(lines: Iterable[str]) -> None:
    """Print an answer of many lines, each with its line break and safe for a terminal, as they come."""
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has had enough, as `head` does
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it is flushed at the exit


def note(text: str) -> None:
    """Print what is good to know, but not the answer, to stderr."""
    try:
        print(clean(text), file=sys.stderr, flush=True)
    except OSError:  # its terminal was closed, and what is left to do must not end with that
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it is flushed at the exit


def progress(text: str = "") -> None:
    """Show how far a long task is, on one line of stderr that the next call replaces; nothing clears it.

    Does nothing unless stderr is a terminal.
    """
    if sys.stderr.isatty():
        print(f"\r{clean(text, lines=False)}\x1b[K", end="", file=sys.stderr, flush=True)


def as_json(value: object) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print labelled values, one per line, aligned. Pairs with an empty value are left out."""
    shown = [(label, value) for label, value in pairs if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        say(f"{label.ljust(width)}  {value}")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under column titles. Every row has as many cells as there are columns."""
    cells = [[clean(cell, lines=False) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _drawn(columns, cells)
        return
    widths = [max(len(cell) for cell in column) for column in zip(columns, *cells, strict=True)]
    for row in (list(columns), *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout).print(drawn)


def report(error: OutgateError) -> None:
    """Print every problem of an error to stderr."""
    for problem in error.problems:
        report_problem(problem)


def report_problem(problem: Problem) -> None:
    """Print one problem to stderr: `error:`, then `hint:`."""
    parts = (problem.where, problem.key, problem.message)
    note("error: " + ": ".join(clean(part, lines=False) for part in parts if part))
    if problem.hint:
        note("hint: " + clean(problem.hint, lines=False))


def report_crash(error: BaseException, *, debug: bool) -> None:
    """Print a fault of Outgate's own. Only its type: a message may hold anything, so it needs `debug`."""
    report_problem(
        Problem(
            f"internal error: {type(error).__name__}",
            "this is a fault in Outgate, please report it; OUTGATE_DEBUG=1 shows the traceback",
        )
    )
    if debug:
        note("".join(traceback.format_exception(error)).rstrip())


def clean(text: str, *, lines: bool = True) -> str:
    """The text with every character that could steer a terminal shown as its escape.

    Line breaks stay where `lines` is true. Format characters (Unicode bidi overrides) count as steering.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or (lines and char == "\n") else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
