"""npm, and what reads its files (pnpm, Yarn 1): which registries it is configured to use.

Source: docs.npmjs.com "npmrc" and "Config": variables over the project's file, over the user's, over the global one.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.starter.machine import Found, Machine

_VARIABLE = re.compile(r"(?<!\\)\$\{([^${}]+)\}")
_LOGIN = re.compile(r"//([^/]+).*:_(?:authToken|auth|password)")


def npm(machine: Machine) -> list[Found]:
    """The registry, from the strongest layer of the user that names one; those of scopes; those of the project."""
    found: list[Found] = []
    given = _variable(machine, "registry")
    own = machine.found("npm", "NPM_CONFIG_REGISTRY", given)
    for file in _files(machine):
        for key, value in _pairs(machine, file):
            scoped = key.startswith("@") and key.endswith(":registry")
            if not scoped and key != "registry":
                continue
            project = machine.inside(file)
            said = machine.found("npm", f"{_shown(key)} in {machine.shown(file)}", value, project=project)
            if scoped or project:
                found += said
            elif not given:
                given, own = value, said
    if given:
        machine.settled.add("npm")
    return [*own, *found]


def default_registry(machine: Machine) -> list[Found]:
    """What npm itself says, outside of any project."""
    said = machine.ask(("npm", "config", "get", "registry"))
    return machine.found("npm", "what npm says", said.strip()) if said else []


def logins(machine: Machine) -> set[str]:
    """The hosts, with their ports, for which a file holds a token or a password."""
    keys = (key for file in _files(machine) for key, _ in _pairs(machine, file))
    return {match[1].lower() for key in keys if (match := _LOGIN.fullmatch(key))}


def _shown(key: str) -> str:
    """The key of a scope's registry, which is outside text."""
    return key if len(key) <= 80 else "a scope's registry"


def _files(machine: Machine) -> Iterator[Path]:
    yield machine.project / ".npmrc"
    if chosen := _variable(machine, "userconfig"):
        yield machine.project / chosen
    elif machine.home is not None:
        yield machine.home / ".npmrc"
    if chosen := _variable(machine, "globalconfig"):
        yield machine.project / chosen
    yield machine.etc / "npmrc"


def _variable(machine: Machine, key: str) -> str:
    """`npm_config_KEY`, in whatever case it is written."""
    name = f"npm_config_{key}"
    return next((value for each, value in machine.environ.items() if each.lower() == name and value), "")


def _pairs(machine: Machine, file: Path) -> Iterator[tuple[str, str]]:
    """The keys of an npmrc: INI without sections, `;` and `#` for comments, `${NAME}` from the environment."""
    for line in (machine.read(file) or "").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith((";", "#", "[")):
            yield key.strip(), _expanded(value.strip().strip("\"'"), machine.environ)


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: environ.get(match[1], match[0]), text)
