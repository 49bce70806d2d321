"""Reads `outgate.yaml` into settings that know where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Self

import yaml

from proxy.errors import ConfigError, Problem
from proxy.state import why

_MAX_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, and for error messages `where` it stands (`file:line:column`, or empty) and under which `key`."""

    value: object
    where: str = ""
    key: str = ""

    def anchored(self, folder: Path) -> Self:
        """The same setting with relative paths made absolute from `folder`, and `~` read as a shell would."""
        if isinstance(self.value, list):
            return replace(self, value=[_anchor(each, folder) for each in self.value])
        return replace(self, value=_anchor(self.value, folder))


def _anchor(value: object, folder: Path) -> object:
    if not isinstance(value, str) or not value:
        return value
    try:
        return str(folder / Path(value).expanduser())
    except RuntimeError:  # no such user
        return str(folder / value)


def read_file(path: Path, known: Sequence[str]) -> dict[str, Setting]:
    """Read a settings file: one YAML mapping of `known` keys. Raises `ConfigError` with every problem found."""
    node = _compose(path)
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError("the settings file is not a mapping of keys to values", _form(known), _at(path, node))
    settings: dict[str, Setting] = {}
    problems: list[Problem] = []
    for key_node, value_node in node.value:
        where, key = _at(path, key_node), str(key_node.value)[:80]
        if key not in known:
            problems.append(Problem("unknown key", _nearest(key, known), where, key))
        elif key in settings:
            problems.append(Problem(f"the key occurs twice; it stands at {settings[key].where} too", "", where, key))
        else:
            settings[key] = Setting(_plain(value_node), _at(path, value_node), key)
    if problems:
        raise ConfigError.of(tuple(problems))
    return settings


def _compose(path: Path) -> yaml.Node | None:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE + 1)
        if len(text) > _MAX_FILE:
            raise ConfigError("the settings file is too large", "256 KiB are enough", str(path))
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file: {why(error)}", "name one with --config", str(path)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"not YAML: {error.problem or error.context}", "", where) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError("not YAML", "a settings file is UTF-8 text", str(path)) from None
    return node


def _plain(node: yaml.Node) -> object:
    """The node as a string, number, boolean or list of these; anything else as `None`, which no setting accepts."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(each) if isinstance(each, yaml.ScalarNode) else None for each in node.value]
    if not isinstance(node, yaml.ScalarNode):
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return node.value.lower() in ("true", "yes", "on")
    if node.tag == "tag:yaml.org,2002:int":
        # Only the decimal form; 0o10 and 1_000 stay text, which is then the wrong type.
        return int(node.value) if node.value.isascii() and node.value.isdigit() and len(node.value) < 10 else node.value
    return node.value if node.tag == "tag:yaml.org,2002:str" else None


def _nearest(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key.replace("-", "_"), known, n=1)
    return f"did you mean `{close[0]}`?" if close else _form(known)


def _form(known: Sequence[str]) -> str:
    return "known keys: " + ", ".join(known)


def _at(path: Path, node: yaml.Node) -> str:
    mark = node.start_mark
    return f"{path}:{mark.line + 1}:{mark.column + 1}"
