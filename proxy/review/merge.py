"""New rules into the text of a policy file: at the end of its `allow` block, with nothing else touched.

Works on the text, so that comments, order and spelling stay. The result is read again and compared with what was
meant; what cannot be done safely is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from proxy.config.compile import read_part
from proxy.config.parse import MAX_BYTES, parse
from proxy.config.tree import Plain
from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec
from proxy.review.proposal import Proposed, credential_lines, joined, policy_text, rule_lines

_BY_HAND = "add the rules by hand: without --merge they are printed"
_BOM = b"\xef\xbb\xbf"

type _Items = Callable[[str], list[list[str]]]  # what to insert, for the spaces in front of an item


@dataclass(frozen=True, slots=True)
class _Section:
    """A section of the file. `at` is the line of its key, `last` the last line of its content (from 0).

    `column` is where its items stand; None if it holds nothing, and then `flow` is what stands for nothing: `[]`, `{}`.
    """

    at: int
    last: int
    column: int | None
    flow: tuple[int, int] | None = None


def merged(data: bytes, path: str, rules: Sequence[Proposed], credentials: Sequence[CredentialSpec]) -> bytes:
    """The file with the rules and credentials added. Raises `ConfigError` where that cannot be done safely."""
    read_part(data, path)
    bom = _BOM if data.startswith(_BOM) else b""
    text = data.removeprefix(bom).decode()
    end = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n") if end == "\r\n" else text
    if "\r" in plain or plain.replace("\n", end) != text:
        raise _refusal("the lines of the file end in different ways", path)
    lines = plain.removesuffix("\n").split("\n")
    if rules:
        lines = _insert(lines, "allow", path, lambda indent: [rule_lines(rule, indent) for rule in rules])
    if credentials:
        lines = _insert(
            lines, "credentials", path, lambda indent: [credential_lines(spec, indent) for spec in credentials]
        )
    result = bom + end.join([*lines, ""]).encode()
    if len(result) > MAX_BYTES:
        hint = "write them to a new file in its folder with --policy and --output, and name that under `extends`"
        raise ConfigError("with these rules the file would be larger than 1 MiB", hint, path)
    _compare(data, result, path, rules, credentials)
    return result


def _insert(lines: list[str], key: str, path: str, made: _Items) -> list[str]:
    section = _find("\n".join(lines) + "\n", key, path)
    if section is None:
        gap = [""] if lines and lines[-1].strip() else []
        return [*lines, *gap, f"{key}:", *joined(made("  "), spaced=True)]
    if section.column is None:
        return _fill(lines, section, made)
    indent = " " * section.column
    while not lines[section.last].strip():  # a literal block takes the blank lines behind it
        section = replace(section, last=section.last - 1)
    place = _behind_comments(lines, section)
    # Where a blank line stands between the items, new ones get one too.
    spaced = any(not line.strip() for line in lines[section.at : section.last])
    new = joined(made(indent), spaced=spaced)
    return [*lines[:place], *([""] if spaced else []), *new, *lines[place:]]


def _fill(lines: list[str], section: _Section, made: _Items) -> list[str]:
    """Put items where `[]` stood; what else stands in the line, a comment, stays."""
    line = lines[section.last]
    if section.flow is not None:
        start, stop = section.flow
        line = line[:start].rstrip() + line[stop:].rstrip()
    return [*lines[: section.last], line, *joined(made("  "), spaced=True), *lines[section.last + 1 :]]


def _behind_comments(lines: list[str], section: _Section) -> int:
    """The line to insert at: behind the section's content, and behind comments that are indented as its items are."""
    place = section.last + 1
    column = section.column or 0
    while column and place < len(lines):
        line = lines[place]
        if not line.lstrip(" ").startswith("#") or len(line) - len(line.lstrip(" ")) < column:
            break
        place += 1
    return place


def _find(text: str, key: str, path: str) -> _Section | None:
    """The section with this key at the top of the file; None if there is none and one can be added at the end."""
    events: list[Any] = list(yaml.parse(text, Loader=yaml.SafeLoader))
    top: Any = next(event for event in events if isinstance(event, yaml.MappingStartEvent))
    explicit = any(isinstance(event, yaml.DocumentEndEvent) and event.explicit for event in events)
    if top.flow_style or top.start_mark.column or explicit:
        raise _refusal("the file is not written as a plain block of keys", path)
    index = 3  # behind the starts of stream, document and mapping
    while isinstance(event := events[index], yaml.ScalarEvent):
        stop = _behind(events, index + 1)
        if event.value == key:
            return _section(event, events[index + 1 : stop], path)
        index = stop
    return None


def _behind(events: list[Any], index: int) -> int:
    """The index behind the node that starts at `index`."""
    depth = 0
    while True:
        event = events[index]
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        index += 1
        if depth == 0:
            return index


def _section(name: Any, node: list[Any], path: str) -> _Section:
    start, inner = node[0], node[1:-1]
    if not inner:
        if start.start_mark.line != node[-1].end_mark.line or start.start_mark.line != name.start_mark.line:
            raise _refusal(f"`{name.value}` is empty, and written over several lines", path)
        return _Section(
            name.start_mark.line, name.start_mark.line, None, (start.start_mark.column, node[-1].end_mark.column)
        )
    if start.flow_style:
        raise _refusal(f"`{name.value}` is written in brackets, not as a block", path)
    last = _last_line(inner)
    return _Section(name.start_mark.line, last, start.start_mark.column)


def _last_line(events: list[Any]) -> int:
    """The last line with content. A block has no end of its own, so the scalars and closing brackets in it say it."""
    last = 0
    flow: list[bool] = []
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            flow.append(bool(event.flow_style))
        elif isinstance(event, yaml.ScalarEvent) or flow.pop():
            # A literal block ends where the line behind it starts.
            last = max(last, event.end_mark.line - (event.end_mark.column == 0))
    return last


def _compare(
    old: bytes, new: bytes, path: str, rules: Sequence[Proposed], credentials: Sequence[CredentialSpec]
) -> None:
    """Read the result again: it must hold what the file held, then what was added, and nothing else."""
    wanted, added = _plain(old, path), _plain(policy_text("added", (), rules, credentials).encode(), path)
    if rules:
        wanted["allow"] = [*_items(wanted.get("allow")), *_items(added["allow"])]
    if credentials:
        wanted["credentials"] = {**_entries(wanted.get("credentials")), **_entries(added["credentials"])}
    if _plain(new, path) != wanted:
        raise _refusal("the rules could not be added without changing something else", path)


def _plain(data: bytes, path: str) -> dict[str, Plain]:
    return _entries(parse(data, path).plain)


def _items(value: Plain) -> list[Plain]:
    return value if isinstance(value, list) else []


def _entries(value: Plain) -> dict[str, Plain]:
    return value if isinstance(value, dict) else {}


def _refusal(message: str, path: str) -> ConfigError:
    return ConfigError(f"cannot merge: {message}", _BY_HAND, path)
