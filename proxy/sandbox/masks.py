"""Files with secrets in a project: found by name, some of them by what is in them, within bounds."""

import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from pathlib import Path

MAX_ENTRIES = 50_000
"""So many entries of a project are looked at, those near its root first."""
MAX_MASKS = 300
MAX_REPOSITORIES = 100
_MAX_CONTENT = 256 * 1024
# Made by tools, large, and rebuilt from what is outside of them.
_SKIPPED = frozenset(
    {".git", ".hg", ".svn", ".jj", "node_modules", ".venv", "venv", ".tox", ".nox", "__pycache__", "site-packages"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".gradle", ".next", ".cache", "target", "vendor"}
)
_BARE = frozenset({"HEAD", "objects", "refs"})  # what git looks for (gitrepository-layout(5))
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_LOGIN = re.compile(rb"://[^/\s@$]+@")  # of an index: a token may stand there as a name without a password
# Names that say little: such a file is masked for what it holds. A variable in the place of a value is no secret.
_CONTENT: dict[str, re.Pattern[bytes]] = {
    "*.pem": _PRIVATE_KEY,
    "*.key": _PRIVATE_KEY,
    ".npmrc": re.compile(
        rb"_(?:auth|authToken|password)[\"']?\s*=\s*[\"']?[^\s$\"']|" + _PRIVATE_KEY.pattern + b"|" + _LOGIN.pattern,
        re.IGNORECASE,
    ),
    "pip.conf": _LOGIN,
    ".yarnrc.yml": re.compile(rb"npmAuth(?:Token|Ident):\s*[\"']?[^\s$\"']", re.IGNORECASE),
}
_GIT = re.compile(rb"extraheader|://[^/\s:@]+:[^/\s@$]+@|://[^/\s:@$]{20,}@", re.IGNORECASE)
_CARGO = re.compile(rb"(?:token|password)[\"']?\s*=\s*[\"'][^\"']|" + _LOGIN.pattern, re.IGNORECASE)
# Of the home folder: settings of git and cargo, uv, Go.
_SETTINGS = {".gitconfig": _GIT, "config": _GIT, "config.toml": _CARGO, "uv.toml": _LOGIN, "env": _LOGIN}


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan found: files and folders to mask, without links, and each `.git` below the project's own.

    `bare` are folders that git takes for repositories without a `.git` when somebody is in them. `whole` is false if a
    bound was reached.
    """

    paths: tuple[Path, ...]
    repositories: tuple[Path, ...]
    bare: tuple[Path, ...]
    whole: bool


def holds_secret(path: Path, name: str) -> bool:
    """Whether a file of such a name is one that has to be masked: for some names what is in it decides."""
    known = {**_CONTENT, **_SETTINGS}
    pattern = next((pattern for form, pattern in known.items() if fnmatchcase(name, form)), None)
    if pattern is None:
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return pattern.search(os.read(handle, _MAX_CONTENT)) is not None
        finally:
            os.close(handle)
    except OSError:
        return False


def holds_login(address: str) -> bool:
    """Whether an address holds the name or password of somebody."""
    return _LOGIN.search(os.fsencode(address)) is not None


def scan(project: Path, patterns: Sequence[str]) -> Found:
    """What of a project has to be masked: what the patterns name, and every socket, which may lead out."""
    named = _matcher(patterns)
    waiting, left, found = deque([str(project)]), MAX_ENTRIES, dict.fromkeys(bound(project))
    repositories: list[Path] = []
    bare: list[Path] = []
    while waiting and left > 0 and len(found) < MAX_MASKS:
        entries = _entries(folder := waiting.popleft())
        if {entry.name for entry in entries} >= _BARE:
            bare.append(Path(folder))
        for entry in entries:
            left -= 1
            if entry.name == ".git":
                repositories += [Path(entry.path)]
            elif named(entry.name):
                found.update(dict.fromkeys(_masked(project, entry)))
            elif entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED:
                    waiting.append(entry.path)
                elif holds_secret(own := Path(os.path.realpath(f"{entry.path}/pip.conf")), "pip.conf"):
                    found.update({own: None} if own.is_relative_to(project) else {})  # of a virtual environment
            elif not entry.is_file() and not entry.is_symlink() and _is_socket(entry):
                found[Path(entry.path)] = None
    repositories = [path for path in repositories if path.parent != project]
    whole = not waiting and len(found) <= MAX_MASKS and len(repositories) <= MAX_REPOSITORIES
    return Found(
        tuple(sorted(found))[:MAX_MASKS], tuple(repositories[:MAX_REPOSITORIES]), tuple(bare[:MAX_REPOSITORIES]), whole
    )


def bound(project: Path, table: Path = Path("/proc/net/unix")) -> Iterator[Path]:
    """The sockets in a project that are bound in this network namespace, wherever they are: proc_net(5)."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return
    prefix = os.fsencode(project) + b"/"
    for line in lines:
        name = line.split(maxsplit=7)[7:]
        if name and name[0].startswith(prefix) and (path := Path(os.fsdecode(name[0]))).is_socket():
            if os.path.realpath(path) == str(path):
                yield path


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is meant: the last pattern that fits it decides, and `!` in front of one says no."""
    ordered = [(pattern.removeprefix("!"), not pattern.startswith("!")) for pattern in reversed(patterns)]
    # Nearly all names fit none of them, and one expression tells so at once.
    any_of = re.compile("|".join(translate(pattern) for pattern, meant in ordered if meant) or r"(?!)")
    return lambda name: (
        any_of.match(name) is not None and next(meant for pattern, meant in ordered if fnmatchcase(name, pattern))
    )


def _masked(project: Path, entry: "os.DirEntry[str]") -> Iterator[Path]:
    """What to mask for an entry with such a name: itself, or what it leads to in the project."""
    real = Path(os.path.realpath(entry.path))
    if real == project or not real.is_relative_to(project) or not real.exists():
        return
    if entry.is_symlink() and real.is_dir():
        return  # a link that was put there to mask what is needed: its name alone makes no folder secret
    by_content = any(fnmatchcase(entry.name, form) for form in _CONTENT)
    if real.is_dir() or not by_content or holds_secret(real, entry.name):
        yield real


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_socket(entry: "os.DirEntry[str]") -> bool:
    try:
        return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False
