"""Classes of request put together again: many cells as few boxes, and the words for what stands in one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from proxy.policy.rules import READ_METHODS
from proxy.review.diff import Cell
from proxy.review.paths import PathClass
from proxy.review.queries import QueryClass
from proxy.review.regions import OTHER_METHOD, Endpoint, Group

ANY_METHOD = ("any method",)

type _Axes = tuple[frozenset[Any], ...]

_JOINED = (4, 1, 2, 0, 3)  # days first, then methods, paths, endpoints, queries: what reads best together


@dataclass(frozen=True, slots=True)
class Box:
    """Every combination of its members."""

    endpoints: frozenset[Endpoint]
    methods: frozenset[str]
    paths: frozenset[PathClass]
    queries: frozenset[QueryClass]
    days: frozenset[date]


def boxes_of(cells: Iterable[Cell]) -> list[Box]:
    """The cells as few boxes. Each cell lies in exactly one."""
    boxes: list[_Axes] = [
        tuple(frozenset((each,)) for each in (cell.endpoint, cell.method, cell.path, cell.query, cell.day))
        for cell in cells
    ]
    for axis in _JOINED:
        joined: dict[_Axes, set[Any]] = defaultdict(set)
        for box in boxes:
            joined[(*box[:axis], *box[axis + 1 :])] |= box[axis]
        boxes = [(*rest[:axis], frozenset(members), *rest[axis:]) for rest, members in joined.items()]
    return [Box(*box) for box in boxes]


def endpoint_texts(group: Group, box: Box) -> tuple[str, ...]:
    """The schemes and ports; a scheme without a port means its usual one."""
    if len(box.endpoints) == len(group.lines.endpoints):
        return ("any scheme and port",)
    return tuple(
        text
        for scheme in ("https", "http")
        for text in _ports(
            [each for each in group.lines.endpoints if each.scheme == scheme and each in box.endpoints],
            [each for each in group.lines.endpoints if each.scheme == scheme and each not in box.endpoints],
        )
    )


def _ports(inside: list[Endpoint], outside: list[Endpoint]) -> Iterator[str]:
    """The ports of one scheme, one by one, or all but some where those that no rule names are among them."""
    if not any(each.other for each in inside):
        yield from (each.text for each in inside)
    else:
        but = f" but {', '.join(str(each.port) for each in outside)}" if outside else ""
        yield f"{inside[0].scheme} (any port{but})"


def method_texts(group: Group, box: Box) -> tuple[str, ...]:
    """The methods, or one word for all of them, or for all but those that are named."""
    if box.methods == frozenset(group.lines.methods):
        return ANY_METHOD
    if OTHER_METHOD in box.methods:
        return (f"any method but {listed(_sorted(frozenset(group.lines.methods) - box.methods))}",)
    return _sorted(box.methods)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _sorted(methods: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(methods, key=lambda each: (each not in READ_METHODS, each)))


def day_text(group: Group, box: Box) -> str:
    """From when on and until when; empty for from now on."""
    runs: list[list[int]] = []
    for number, day in enumerate(group.lines.days):
        if day not in box.days:
            continue
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " and ".join(filter(None, (_run_text(group.lines.days, first, last) for first, last in runs)))


def _run_text(days: Sequence[date], first: int, last: int) -> str:
    begin = f"from {days[first]} on" if first else ""
    if last == len(days) - 1:
        return begin
    end = f"until {days[last + 1] - timedelta(days=1)}"
    return f"from {days[first]} {end}" if first else end
