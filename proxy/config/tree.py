"""A parsed YAML document of which every value and every key can be asked for its line and column."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.errors import ConfigError, Problem

type KeyPath = tuple[str | int, ...]
type Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None

# So many are told; a file that has more is not a policy with mistakes, but something else.
MOST_PROBLEMS = 100
_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; both numbers start at 1, columns count characters."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value. `text` is a scalar as it was written; `keys` has the mark of each key of a mapping."""

    mark: Mark
    value: "str | int | float | bool | list[Node] | dict[str, Node] | None"
    text: str = ""
    keys: dict[str, Mark] = field(default_factory=dict)

    def child(self, key: str | int) -> "Node | None":
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None


@dataclass(slots=True)
class Document:
    """One file: its path as the user gave it, its values, and what was wrong with it so far.

    `lines` has the line of each item of a list right below the top, by the list's path; `maybe_null` is false where no
    value is missing. `place` reads the file again, for the tree of places; most files need none.
    """

    path: str
    plain: dict[str, Plain]
    problems: list[Problem]
    lines: Mapping[KeyPath, Sequence[int]]
    maybe_null: bool
    place: Callable[[], Node]
    _root: Node | None = None

    @property
    def root(self) -> Node:
        self._root = self._root or self.place()
        return self._root

    def node(self, path: KeyPath) -> Node | None:
        node: Node | None = self.root
        for key in path:
            node = None if node is None else node.child(key)
        return node

    def where(self, path: KeyPath, *, at_key: bool = False) -> str:
        """`file:line:column` of the value (or its key), or of the nearest thing around it that exists."""
        node, mark = self.root, self.root.mark
        for depth, key in enumerate(path):
            found = node.child(key)
            if found is None:
                break
            last = depth == len(path) - 1
            mark = node.keys[key] if last and at_key and isinstance(key, str) else found.mark
            node = found
        return f"{self.path}:{mark.line}:{mark.column}"

    def problem(self, path: KeyPath, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        return Problem(message, hint, self.where(path, at_key=at_key), key_path(path))

    def nulls(self) -> Iterator[KeyPath]:
        """The paths of all keys and items without a value."""
        stack: list[tuple[KeyPath, Plain]] = [((), self.plain)] if self.maybe_null else []
        while stack:
            path, value = stack.pop()
            if value is None:
                yield path
            elif isinstance(value, dict):
                stack.extend(((*path, key), child) for key, child in value.items())
            elif isinstance(value, list):
                stack.extend(((*path, index), child) for index, child in enumerate(value))


def key_path(path: KeyPath) -> str:
    """`allow[3].hosts[0]`; a key that would be hard to read is quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _SIMPLE_KEY.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f"[{key[:64]!r}]"
    return text


def shown(text: str) -> str:
    """A piece of a file as a message shows it: in backticks, cut, and without characters that a terminal obeys."""
    cut = text if len(text) <= 80 else text[:79] + "…"
    return f"`{cut}`" if cut.isprintable() and "`" not in cut else repr(cut)


def failure(problems: Sequence[Problem]) -> ConfigError:
    """The error that carries the problems, at least one; of very many the first ones, and that there are more."""
    error = ConfigError(problems[0].message)
    error.problems = tuple(problems)
    if len(problems) > MOST_PROBLEMS:
        more = Problem(
            "there are more problems from here on", "mend those above first", problems[MOST_PROBLEMS - 1].where
        )
        error.problems = (*problems[: MOST_PROBLEMS - 1], more)
    return error
