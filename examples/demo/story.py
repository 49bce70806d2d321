"""How the demo tells its story: headings, commands, output as it arrives, and what each step proved."""

import re
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.text import Text

_STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_INDENT = "   "

_console = Console(highlight=False, soft_wrap=True)


class StoryError(Exception):
    """A step did not do what it says."""


def title(text: str, under: str) -> None:
    _print(text, "bold")
    _print(under)


def step(number: int, text: str) -> None:
    _print(f"\n{number}. {text}", "bold")


def command(text: str) -> None:
    _print(f"{_INDENT}$ {text}", "cyan")


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    shown = list(pairs)
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        _print(f"{_INDENT}{name.ljust(width)}  {value}")


def proved(holds: bool, claim: str) -> None:
    """Say what is shown, or stop the demo because it is not."""
    if not holds:
        raise StoryError(f"this did not hold: {claim}")
    _print(f"{_INDENT}ok: {claim}", "green")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    cells = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _print((_INDENT + "  ".join(padded)).rstrip(), "" if number else "bold")


def live() -> Callable[[str], None]:
    """A function that prints a process's output piece by piece, each line indented, nothing held back."""
    fresh = True

    def show(text: str) -> None:
        nonlocal fresh
        for line in _STEERING.sub("?", text).splitlines(keepends=True):
            _console.print(Text((f"{_INDENT}| " if fresh else "") + line), end="")
            fresh = line.endswith("\n")

    return show


def _print(text: str, style: str = "") -> None:
    _console.print(Text(_STEERING.sub("?", text), style=style))
