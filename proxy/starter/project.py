"""What the files of a project say: its languages, and the hosts that its lock files name. Read in bounds, never run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from proxy.starter.machine import MAX_FOUND, Found, Machine

MAX_LOCK = 32 << 20  # bytes of a lock file
_MAX_FOLDERS = 200  # direct subfolders that are looked into

# Language, the client whose configuration is read for it (None: none is), and the files that show it.
_SIGNS: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    (
        "Python",
        "pip",
        (
            "pyproject.toml",
            "requirements*.txt",
            "setup.py",
            "setup.cfg",
            "Pipfile*",
            "uv.lock",
            "poetry.lock",
            "pylock*.toml",
        ),
    ),
    (
        "JavaScript",
        "npm",
        ("package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock"),
    ),
    ("Rust", "cargo", ("Cargo.toml", "Cargo.lock")),
    ("Go", "go", ("go.mod", "go.sum", "go.work")),
    ("Debian packages", "apt", ("Aptfile", "apt.txt")),
    ("Ruby", None, ("Gemfile", "Gemfile.lock")),
    ("Java", None, ("pom.xml", "build.gradle", "build.gradle.kts")),
    ("PHP", None, ("composer.json", "composer.lock")),
    (".NET", None, ("*.csproj", "*.sln", "packages.lock.json")),
)

# Where lock files name addresses: the client, and what stands in front of one. Other addresses in them are for people.
_URL = r"(https?://[^\s\"'<>\\]+)"
_LOCKS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "package-lock.json": ("npm", re.compile(r'"resolved"\s*:\s*"' + _URL)),
    "npm-shrinkwrap.json": ("npm", re.compile(r'"resolved"\s*:\s*"' + _URL)),
    "yarn.lock": ("npm", re.compile(r'\bresolved\s+"' + _URL)),
    "pnpm-lock.yaml": ("npm", re.compile(r"\btarball:\s*['\"]?" + _URL)),
    "uv.lock": ("uv", re.compile(r'\b(?:url|registry)\s*=\s*"' + _URL)),
    "poetry.lock": ("pip", re.compile(r'^url\s*=\s*"' + _URL, re.MULTILINE)),
    "pdm.lock": ("pip", re.compile(r'\burl\s*=\s*"' + _URL)),
    "pylock.toml": ("pip", re.compile(r'\b(?:url|index)\s*=\s*"' + _URL)),
    "Pipfile.lock": ("pip", re.compile(r'"url"\s*:\s*"' + _URL)),
    "Cargo.lock": ("cargo", re.compile(r'\bsource\s*=\s*"sparse\+' + _URL)),
}


@dataclass(frozen=True, slots=True)
class Language:
    """A language that a project uses: the files that show it, and the client whose configuration is read for it."""

    name: str
    client: str | None
    files: tuple[str, ...]


def languages(machine: Machine) -> list[Language]:
    """What the files in the project, and in the folders directly below, show."""
    names = [name for _, name in _files(machine)]
    found = []
    for language, client, signs in _SIGNS:
        files = dict.fromkeys(name for name in names if any(fnmatch(name, sign) for sign in signs))
        if files:
            found.append(Language(language, client, tuple(files)[:10]))
    return found


def locked(machine: Machine) -> list[Found]:
    """The hosts that lock files name, each once for a client: whole hosts, because files stand anywhere on them."""
    found: dict[tuple[str, str], Found] = {}
    for file, name in _files(machine):
        if name not in _LOCKS:
            continue
        client, pattern = _LOCKS[name]
        origins = dict.fromkeys(_origin(match[1]) for match in pattern.finditer(machine.read(file, MAX_LOCK) or ""))
        for text in list(origins)[:MAX_FOUND]:
            for each in machine.found(client, machine.shown(file), text, project=True):
                found.setdefault((client, str(each.place)), replace(each, project=True))
    return list(found.values())[:MAX_FOUND]


def _origin(url: str) -> str:
    """The URL without its path. What stands in front of an `@` goes with it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0].rpartition('@')[2]}"


def _files(machine: Machine) -> Iterator[tuple[Path, str]]:
    """Files of the project and of the folders directly below it. Links to folders are not followed."""
    names = machine.names(machine.project)
    yield from ((machine.project / name, name) for name in names)
    for name in [each for each in names if each[0] != "." and each not in ("node_modules", "vendor")][:_MAX_FOLDERS]:
        folder = machine.project / name
        if not folder.is_symlink():
            yield from ((folder / each, each) for each in machine.names(folder))
