"""cargo: which registries it is configured to use.

Source: doc.rust-lang.org/cargo "Configuration", "Source replacement", "Registries". cargo has no stable command that
says what its default registry is.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.starter.machine import Found, Machine

_DEFAULT = "crates-io"
_MAX_CHAIN = 8


def cargo(machine: Machine) -> list[Found]:
    """What replaces the default registry, and the other registries by name."""
    found = [
        each
        for name, value in machine.environ.items()
        if name.startswith("CARGO_REGISTRIES_") and name.endswith("_INDEX")
        for each in _registry(machine, name, value)
    ]
    sources: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for file in reversed(list(_files(machine))):  # the nearest file is the strongest
        config = _config(machine, file)
        sources |= {name: (file, table) for name, table in _tables(config, "source")}
        for _, table in _tables(config, "registries"):
            where, project = f"registries in {machine.shown(file)}", machine.inside(file)
            found += _registry(machine, where, table.get("index"), project=project)
    return [*_replacement(machine, sources), *found]


def _replacement(machine: Machine, sources: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> list[Found]:
    """What `replace-with` makes of the default registry, followed to its end."""
    name, project = _DEFAULT, False
    for _ in range(_MAX_CHAIN):
        if name not in sources:
            break
        file, table = sources[name]
        project = project or machine.inside(file)
        if isinstance(follow := table.get("replace-with"), str):
            name = follow
            continue
        if not project:
            machine.settled.add("cargo")
        where = f"source in {machine.shown(file)}"
        return _registry(machine, where, table.get("registry"), project=project)
    return []


def _registry(machine: Machine, where: str, index: object, *, project: bool = False) -> list[Found]:
    """A registry; its crates stand beside the `index` where its address ends so."""
    text = index.removeprefix("sparse+").removeprefix("registry+") if isinstance(index, str) else index
    found = machine.found("cargo", where, text, project=project)
    for at, each in enumerate(found):
        if each.place.path[-1:] == ("index",):
            place = replace(each.place, path=each.place.path[:-1])
            found[at] = replace(each, address=replace(each.address, place=place))
    return found


def _files(machine: Machine) -> Iterator[Path]:
    """The nearest first, as cargo looks for them: from the project upwards, then its home."""
    given = machine.environ.get("CARGO_HOME")
    home = Path(given) if given else machine.home / ".cargo" if machine.home is not None else None
    folders = [folder / ".cargo" for folder in (machine.project, *list(machine.project.parents)[:32])]
    for folder in [*(each for each in folders if each != home), *([home] if home is not None else [])]:
        yield folder / "config.toml"
        yield folder / "config"


def _config(machine: Machine, file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(machine.read(file) or "")
    except (tomllib.TOMLDecodeError, RecursionError):
        machine.remark(machine.shown(file), "not TOML")
        return {}


def _tables(config: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    tables = config.get(key)
    if isinstance(tables, dict):
        yield from ((name, table) for name, table in tables.items() if isinstance(table, dict))
