"""libyaml's events: the value of a scalar, where it stands, and the tree of nodes of a text that was read before."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from proxy.config.tree import Mark, Node

# libyaml is more than ten times as fast; the other one is there where PyYAML was built without it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVE: Any = Resolver().resolve
# What a plain scalar starts with if it could be anything but text; "" is for the empty one.
_NOT_ONLY_TEXT = frozenset(Resolver.yaml_implicit_resolvers)
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_TRUE = frozenset({"true", "yes", "on"})

type Read = Callable[[], Any]


def events(text: str) -> Read:
    """Gives one event after the other, None behind the last."""
    read: Read = _LOADER(text).get_event
    return read


def mark_of(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def value_of(event: Any) -> str | int | float | bool | None:
    """The value of a scalar. Dates stay text; a number in any but plain decimal form is a float, which no key takes."""
    text: str = event.value
    if not event.implicit[0] or text[:1] not in _NOT_ONLY_TEXT:
        return text
    match str(_RESOLVE(ScalarNode, text, event.implicit)).removeprefix(_TAG):
        case "null" | "merge":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int":
            return int(text) if _INTEGER.fullmatch(text) else float("nan")
        case "float":
            return float("nan")
        case _:
            return text


class Placer:
    """The tree of nodes of a text that `_Composer` has read to its end."""

    def __init__(self, text: str) -> None:
        self._read = events(text)
        while self._read().__class__ is not yaml.DocumentStartEvent:
            pass
        self.root = self._node(self._read())

    def _node(self, event: Any) -> Node:
        mark = mark_of(event)
        if event.__class__ is yaml.AliasEvent:
            return Node(mark, "")
        if event.__class__ is yaml.ScalarEvent:
            return Node(mark, value_of(event), event.value)
        if event.__class__ is yaml.MappingStartEvent:
            return self._mapping(mark)
        items: list[Node] = []
        while (event := self._read()).__class__ is not yaml.SequenceEndEvent:
            items.append(self._node(event))
        return Node(mark, items)

    def _mapping(self, mark: Mark) -> Node:
        children: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        while (event := self._read()).__class__ is not yaml.MappingEndEvent:
            key, child = self._node(event), self._node(self._read())
            if isinstance(key.value, str) and key.value not in keys:
                children[key.value], keys[key.value] = child, key.mark
        return Node(mark, children, keys=keys)
