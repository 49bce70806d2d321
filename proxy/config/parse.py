"""Bytes of a policy file -> `Document`. YAML 1.1 without its surprises: no aliases, tags, merges or duplicate keys.

Values are composed here from libyaml's events, because PyYAML's own composer resolves aliases, keeps the last of
two equal keys and recurses as deep as the file says. What can be read past is collected; what cannot raises.

Only `_Composer` says what a file means. Where each value stands is asked for by what has something to say about it;
`Placer` reads the file again for that, and its tree is never what a policy is made of.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.reader import Reader

from proxy.config.events import Placer, Read, events, mark_of, value_of
from proxy.config.tree import Document, KeyPath, Plain, failure, key_path, shown
from proxy.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 200_000

_CONTROL = Reader.NON_PRINTABLE
_ALIAS = re.compile(r"\*[^\s,\]}'\"]*")


@dataclass(frozen=True, slots=True)
class Kind:
    """What messages call a file, and the hints for one that is empty, too large, or repeats itself."""

    noun: str
    plural: str
    empty: str
    split: str
    share: str


POLICY = Kind(
    noun="policy",
    plural="policies",
    empty="a policy starts with `version: 1` and `name: my-agent`; without rules it denies everything",
    split="split it and join the parts with `extends`",
    share="to share rules use `extends`",
)


def parse(data: bytes, path: str, kind: Kind = POLICY) -> Document:
    """Parse one file. `path` is only what messages call it.

    Raises `ConfigError` where no tree can be made; lesser problems are in the document's `problems`.
    """
    text = _decode(data, path, kind)
    composer = _Composer(path, kind)
    try:
        values = composer.document(events(text))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, path, composer.problems) from None
    if composer.root is None or (values is None and composer.root.value == ""):
        raise ConfigError(f"an empty {kind.noun}", kind.empty, path)
    if not isinstance(values, dict):
        mark = mark_of(composer.root)
        where = f"{path}:{mark.line}:{mark.column}"
        raise failure([Problem(f"a {kind.noun} is a mapping of keys", kind.empty, where), *composer.problems])
    return Document(path, values, composer.problems, composer.lines, composer.nulls, lambda: Placer(text).root)


def _decode(data: bytes, path: str, kind: Kind) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError("the file is larger than 1 MiB", kind.split, path)
    if (nul := data.find(b"\0")) >= 0:
        raise ConfigError(
            "the file holds a NUL byte", "save it as UTF-8 text", f"{path}:{data.count(b'\n', 0, nul) + 1}"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8", "save it as UTF-8 text", f"{path}:{line}") from None


class _Composer:
    """Turns the events of one document into values, within bounds.

    `root` is the event of the outermost one. `lines` has the line of each item of the lists right below the top, in
    which rules stand. `nulls` is whether any value may be missing.
    """

    def __init__(self, path: str, kind: Kind) -> None:
        self._path = path
        self._kind = kind
        self._count = 0
        self.root: Any = None
        self.lines: dict[KeyPath, list[int]] = {}
        self.nulls = False
        self.problems: list[Problem] = []

    def document(self, read: Read) -> Plain:
        self._read = read
        values: Plain = None
        while (event := read()) is not None:
            if event.__class__ is yaml.DocumentStartEvent:
                if self.root is not None:
                    hint = f"one file holds one {self._kind.noun}; remove the `---`"
                    raise self._stop(event, "a second document", hint)
                self.root = read()
                values = self._node(self.root, ())
        return values

    def _node(self, event: Any, path: KeyPath) -> Plain:
        self._count += 1
        if self._count > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES} values", self._kind.split)
        if len(path) > MAX_DEPTH:
            raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        kind = event.__class__
        if kind is yaml.AliasEvent:
            alias = f"*{event.anchor}"
            hint = f'quote a wildcard: "{alias}"; {self._kind.share}'
            self._note(event, path, f"{shown(alias)} is a YAML alias, and {self._kind.plural} have none", hint)
            return ""
        if event.anchor is not None:
            anchor = shown("&" + event.anchor)
            self._note(event, path, f"{anchor} is a YAML anchor, and {self._kind.plural} have none")
        if event.tag is not None:
            message = f"{shown(event.tag)} is a YAML tag, and {self._kind.plural} have none"
            self._note(event, path, message, "write the plain value")
        if kind is yaml.ScalarEvent:
            value = value_of(event)
            self.nulls = self.nulls or value is None
            return value
        return self._items(path) if kind is yaml.SequenceStartEvent else self._mapping(path)

    def _items(self, path: KeyPath) -> list[Plain]:
        items: list[Plain] = []
        lines: list[int] | None = self.lines.setdefault(path, []) if len(path) == 1 else None
        while (event := self._read()).__class__ is not yaml.SequenceEndEvent:
            if lines is not None:
                lines.append(event.start_mark.line + 1)
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Plain]:
        children: dict[str, Plain] = {}
        keys: dict[str, Any] = {}
        while (event := self._read()).__class__ is not yaml.MappingEndEvent:
            key = self._key(event, path)
            child = self._node(self._read(), (*path, key or "?"))
            if key is None:
                continue
            if key in keys:
                first = f"it is first given at {self._path}:{mark_of(keys[key]).line}; keep one of the two"
                self._note(event, (*path, key), f"the key {shown(key)} is given twice", first)
            else:
                children[key], keys[key] = child, event
        return children

    def _key(self, event: Any, path: KeyPath) -> str | None:
        value = self._node(event, path)
        if isinstance(value, str):
            return value
        if event.__class__ is yaml.ScalarEvent and event.value == "<<":
            self._note(event, path, f"`<<` is a YAML merge, and {self._kind.plural} have none", self._kind.share)
        elif event.__class__ is yaml.ScalarEvent:
            self._note(event, path, f"the key {shown(event.value)} is not text", f'quote it: "{event.value[:40]}"')
        else:
            self._note(event, path, "a key is a list or a mapping", "write a key as plain text")
        return None

    def _note(self, event: Any, path: KeyPath, message: str, hint: str = "") -> None:
        mark = mark_of(event)
        self.problems.append(Problem(message, hint, f"{self._path}:{mark.line}:{mark.column}", key_path(path)))

    def _stop(self, event: Any, message: str, hint: str = "") -> ConfigError:
        self._note(event, (), message, hint)
        return failure(self.problems[-1:] + self.problems[:-1])


def _syntax_error(error: yaml.YAMLError, text: str, path: str, before: list[Problem]) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a reader error has no mark
        found = _CONTROL.search(text)
        line = text.count("\n", 0, found.start() if found else 0) + 1
        first = Problem("a control character stands in the file", "remove it", f"{path}:{line}")
        return failure([first, *before])
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    message = "not valid YAML: " + ", ".join(part for part in parts if part)
    lines = text.split("\n")
    line_text = lines[mark.line] if mark.line < len(lines) else ""
    column = mark.column - line_text[: mark.column].endswith("*")  # an alias is marked behind its star
    hint = _syntax_hint(line_text, column, message)
    return failure([Problem(message, hint, f"{path}:{mark.line + 1}:{column + 1}"), *before])


def _syntax_hint(line: str, column: int, message: str) -> str:
    rest = line[column:]
    if rest.startswith("*"):
        found = _ALIAS.match(rest)
        return f'a bare `*` starts a YAML alias; quote it: "{found[0] if found else "*"}"'
    if "\t" in line[: column + 1]:
        return "indent with spaces, not tabs"
    if rest[:1] in {"@", "`", "%", "&", "!", "|", ">"}:
        return f"quote a value that starts with {rest[0]}"
    if "mapping values are not allowed" in message:
        return "quote a text that holds `: `, and check the indentation of this line"
    if "flow" in message:
        return "close every bracket, and quote an item that holds `: `, `[` or starts with `:`"
    return "check the indentation and the quotes of this line and the one before"
