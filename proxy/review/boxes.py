"""Classes of request put together again: many cells as few boxes, and the words for what stands in one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from proxy.policy.path import PathPattern
from proxy.policy.rules import READ_METHODS
from proxy.review.diff import Cell
from proxy.review.paths import DOTS, Kind, PathClass, covers
from proxy.review.regions import OTHER_METHOD, Endpoint, Group

type _Axes = tuple[frozenset[Any], ...]

_JOINED = (4, 1, 2, 0, 3)  # days first, then methods, paths, endpoints, queries: what reads best together
_ANY = (None,)
_EVERYTHING = PathPattern((), rest=True)


@dataclass(frozen=True, slots=True)
class Box:
    """Every combination of its members."""

    endpoints: frozenset[Endpoint]
    methods: frozenset[str]
    paths: frozenset[PathClass]
    queries: frozenset[str]
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
    """The schemes and ports, or one word for all of them, or for all but those that are named."""
    if len(box.endpoints) == len(group.lines.endpoints):
        return ("any scheme and port",)
    missing = [each.text for each in group.lines.endpoints if each not in box.endpoints]
    if len(missing) < len(box.endpoints) and not any(
        each.other for each in group.lines.endpoints if each not in box.endpoints
    ):
        return (f"any scheme and port but {listed(missing)}",)
    return tuple(dict.fromkeys(each.text for each in group.lines.endpoints if each in box.endpoints))


def method_texts(group: Group, box: Box) -> tuple[str, ...]:
    """The methods, or one word for all of them, or for all but those that are named."""
    if box.methods == frozenset(group.lines.methods):
        return ("any method",)
    if OTHER_METHOD in box.methods:
        return (f"any method but {listed(_sorted(frozenset(group.lines.methods) - box.methods))}",)
    return _sorted(box.methods)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _sorted(methods: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(methods, key=lambda each: (each not in READ_METHODS, each)))


def query_texts(group: Group, box: Box) -> tuple[str, ...]:
    names = group.lines.queries
    if box.queries == frozenset(names):
        return ()
    return tuple(dict.fromkeys(name or "any other query" for raw, name in names.items() if raw in box.queries))


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


def path_texts(group: Group, box: Box, *, blind: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths as patterns, and those inside the patterns that are not meant. Both empty: any path.

    `blind`: a deny rule made the difference, and it means every spelling of a path.
    """
    if box.paths == frozenset(group.paths):
        return (), ()
    plain = [path for path in group.paths if path.kind is Kind.PLAIN]
    shown = _widest(_forms(path for path in plain if path in box.paths))
    inside = frozenset(shown)
    outside = _forms(path for path in plain if path not in box.paths)
    # A form that is inside and outside: deny rules mean every spelling of a path, allow rules one.
    but = _widest([form for form in outside if DOTS not in form.segments and any(covers(each, form) for each in shown)])
    texts = [_text(form) if form not in but else f"other spellings of {_text(form)}" for form in shown]
    if not (blind and texts):
        texts += _doubtful(group, box, shown)
    return tuple(dict.fromkeys(texts)), tuple(_text(form) for form in but if form not in inside)


def _doubtful(group: Group, box: Box, shown: list[PathPattern]) -> list[str]:
    """The words for paths that are not read in one way, where the patterns shown do not say it."""
    slashed = _forms(path for path in group.paths if path.kind is Kind.SLASH and path in box.paths)
    beyond = [form for form in slashed if not any(covers(each, form) for each in shown)]
    named = [form for form in beyond if any(word and "/" in word for word in form.segments)]
    texts = [_text(form) for form in _widest(named)]
    if len(named) < len(beyond):
        texts.append("paths with %2F")
    if any(path.kind is Kind.UNREADABLE for path in box.paths):
        texts.append("paths that servers read differently")
    return texts


def _forms(paths: Iterable[PathClass]) -> list[PathPattern]:
    found: dict[PathPattern, None] = {}
    for path in paths:
        found.update(dict.fromkeys((_EVERYTHING,) if path.other else path.forms))
    return list(found)


def _widest(forms: list[PathPattern]) -> list[PathPattern]:
    """The forms as few, without those that another one covers, or that are another one with nothing at its end."""
    known = set(forms)
    joined = {
        form: PathPattern(form.segments[:-1], rest=True) for form in forms if form.rest and form.segments[-1:] == _ANY
    }
    forms = [joined[form] if form in joined and PathPattern(form.segments[:-1]) in known else form for form in forms]
    ending = {PathPattern((*form.segments, last)) for form in forms for last in ("", DOTS)}
    kept = [form for form in dict.fromkeys(forms) if form not in ending or form == PathPattern(("",))]
    kept = [form for form in kept if not any(other != form and covers(other, form) for other in kept)]
    return sorted(kept, key=str)


def _text(form: PathPattern) -> str:
    words = ("*" if word is None else word.replace("/", "%2F") for word in form.segments)
    text = "/" + "/".join(words)
    return (text.rstrip("/") if text != "/" else "") + "/**" if form.rest else text
