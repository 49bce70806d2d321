"""pip and uv: which indexes they are configured to use.

Sources: pip.pypa.io "Configuration"; docs.astral.sh/uv "Configuration files", "Package indexes", "Environment
variables". pip.conf is read by pip alone, uv.toml and `[tool.uv]` by uv alone.
"""

import configparser
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.starter.machine import Found, Machine

_KEYS = ("index-url", "extra-index-url", "find-links")
_MAIN = ("index-url", "UV_DEFAULT_INDEX", "UV_INDEX_URL")  # what stands in the place of the default
_SECTIONS = ("global", "install", "download", "wheel")  # of pip.conf, those of commands that fetch
# Importable from the package itself; there is no command of pip that prints it.
_DEFAULT = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"


def pip(machine: Machine) -> list[Found]:
    """Of each key, what the strongest layer says: the environment, then the files from the last to the first."""
    told: dict[str, tuple[str, str, bool]] = {}
    for file in _pip_files(machine):
        for key, value in _pip_conf(machine, file).items():
            told[key] = (value, f"{key} in {machine.shown(file)}", machine.inside(file))
    for key in _KEYS:
        name = "PIP_" + key.upper().replace("-", "_")
        if machine.environ.get(name):
            told[key] = (machine.environ[name], name, False)
    if "no-index" in told or not told.get("index-url", ("", "", True))[2]:
        machine.settled.add("pip")
    return [
        each
        for key in _KEYS
        if key in told
        for text in told[key][0].split()
        for each in _index(machine, "pip", told[key][1], text, project=told[key][2])
    ]


def uv(machine: Machine) -> list[Found]:
    """All that variables and files name: uv looks through each of its indexes."""
    found = [
        each
        for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
        for text in machine.environ.get(name, "").split()
        for each in _uv_index(machine, name, name, _unnamed(text))
    ]
    for file, table in _uv_tables(machine):
        for key, text in _uv_indexes(table):
            found += _uv_index(machine, key, f"{key} in {machine.shown(file)}", text, project=machine.inside(file))
    return found


def default_index(machine: Machine) -> list[Found]:
    """The index that pip uses if nothing is configured, asked of pip; uv's documentation names the same one."""
    for python in ("python3", "python"):
        if said := machine.ask((python, "-I", "-c", _DEFAULT)):
            return _index(machine, "pip", "the default of pip", said.strip())
    return []


def _uv_index(machine: Machine, key: str, where: str, text: object, *, project: bool = False) -> list[Found]:
    if key in _MAIN and text and not project:
        machine.settled.add("pip")
    return _index(machine, "uv", where, text, project=project)


def _index(machine: Machine, client: str, where: str, text: object, *, project: bool = False) -> list[Found]:
    """An index, and the files beside it: PEP 503 puts `simple` below a root, and servers put the files there too."""
    return [_root(each) for each in machine.found(client, where, text, project=project)]


def _root(found: Found) -> Found:
    place = found.place
    if not place.path or place.path[-1] not in ("simple", "+simple"):
        return found
    return replace(found, address=replace(found.address, place=replace(place, path=place.path[:-1])))


def _pip_files(machine: Machine) -> Iterator[Path]:
    chosen = machine.environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return
    dirs = machine.environ.get("XDG_CONFIG_DIRS") or str(machine.etc / "xdg")
    yield from (Path(each) / "pip/pip.conf" for each in reversed(dirs.split(":")) if Path(each).is_absolute())
    yield machine.etc / "pip.conf"
    if machine.home is not None:
        yield machine.home / ".pip/pip.conf"
    if machine.config_home is not None:
        yield machine.config_home / "pip/pip.conf"
    if environment := machine.environ.get("VIRTUAL_ENV"):
        yield machine.project / environment / "pip.conf"
    if chosen:
        yield machine.project / chosen


def _pip_conf(machine: Machine, file: Path) -> Mapping[str, str]:
    text = machine.read(file)
    if text is None:
        return {}
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:  # its message repeats the line
        machine.remark(machine.shown(file), "not a configuration file of pip")
        return {}
    pairs = (
        (key, value) for section in _SECTIONS if parser.has_section(section) for key, value in parser[section].items()
    )
    named = {key.lstrip("-").replace("_", "-"): value for key, value in pairs}
    return {key: named[key] for key in (*_KEYS, "no-index") if named.get(key)}


def _uv_tables(machine: Machine) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if chosen := machine.environ.get("UV_CONFIG_FILE"):
        yield from _toml(machine, machine.project / chosen)
        return
    if machine.environ.get("UV_NO_CONFIG"):
        return
    own = list(_toml(machine, machine.project / "uv.toml"))
    if not own:  # beside a uv.toml, uv does not look at [tool.uv]
        for file, table in _toml(machine, machine.project / "pyproject.toml"):
            own = [(file, _table(_table(table, "tool"), "uv"))]
    yield from own
    for folder in (machine.config_home, machine.etc):
        if folder is not None:
            yield from _toml(machine, folder / "uv/uv.toml")


def _uv_indexes(table: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for each in _listed(table.get("index")):
        if isinstance(each, dict):
            yield "index-url" if each.get("default") is True else "index", each.get("url")
    for each in (table, _table(table, "pip")):
        yield from ((key, text) for key in _KEYS for text in _listed(each.get(key)))


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _unnamed(text: str) -> str:
    """`name=URL`, as UV_INDEX has it, without the name."""
    name, equals, url = text.partition("=")
    return url if equals and "/" not in name else text


def _toml(machine: Machine, file: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    text = machine.read(file)
    if text is None:
        return
    try:
        yield file, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        machine.remark(machine.shown(file), "not TOML")
