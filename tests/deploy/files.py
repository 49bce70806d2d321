"""The files of examples/ as values, as the programs that they are for would read them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMPOSE = EXAMPLES / "compose/compose.yaml"
DEVCONTAINER = EXAMPLES / "devcontainer"
KUBERNETES = EXAMPLES / "kubernetes"
SYSTEMD = EXAMPLES / "systemd"
VARIABLES = {"PROJECT": "/srv/project", "ANTHROPIC_KEY_FILE": "/etc/outgate/anthropic-key"}
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::[-?]([^}]*))?\})")


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def compose(file: Path = COMPOSE, variables: Mapping[str, str] = VARIABLES) -> dict[str, Any]:
    """A Compose file with its variables put in, as Compose does it."""
    value: dict[str, Any] = _filled(yaml.safe_load(text_of(file)), variables)
    return value


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: found[1] or variables.get(found[2], found[3]), value)
    return value


def objects(name: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of one file."""
    return [one for one in yaml.safe_load_all(text_of(KUBERNETES / name)) if one]


def only(name: str, kind: str, called: str) -> dict[str, Any]:
    """The one object of a kind and name in a file."""
    (found,) = [one for one in objects(name) if (one["kind"], one["metadata"]["name"]) == (kind, called)]
    return found


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in text_of(SYSTEMD / name).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found
