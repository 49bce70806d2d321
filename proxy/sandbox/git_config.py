"""What git's configuration makes git on the host read or start, as far as a sandbox could write it."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_MAX = 1 << 20
_PATIENCE = 10.0
_MOST_HOSTS = 20
_SSH = re.compile(r"^\s*url\s*=\s*\"?(?:ssh://git@([A-Za-z0-9.-]+)/|git@([A-Za-z0-9.-]+):)", re.MULTILINE)
# Without any of these words in it a configuration names neither another file nor a program, and is not looked at.
_WORDS = re.compile(
    rb"include|hookspath|fsmonitor|command|editor|pager|external|textconv|filter|driver|helper|program|alias|cmd|askpass",
    re.IGNORECASE,
)
_PROGRAM = re.compile(  # git-config(1): keys whose values git starts, by a shell or as they are
    r"core\.(?:fsmonitor|sshcommand|editor|pager|askpass)|diff\.(?:external|.+\.(?:command|textconv))"
    r"|filter\..+\.(?:clean|smudge|process)|merge\..+\.driver|credential\.(?:.+\.)?helper|gpg\.(?:.+\.)?program"
    r"|sequence\.editor|pager\..+|interactive\.difffilter|alias\..+|(?:difftool|mergetool)\..+\.(?:cmd|path)",
    re.DOTALL,
)


def of_user(home: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The configuration files that git reads for every repository (git-config(1))."""
    xdg = environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    named = environ.get("GIT_CONFIG_GLOBAL")
    own = [Path(named)] if named else [home / ".gitconfig", Path(xdg) / "git" / "config"]
    return (Path("/etc/gitconfig"), *own)


def named(files: Iterable[Path], project: Path, home: Path, search_path: Iterable[str]) -> Iterator[Path]:
    """The files and folders that configurations name: included ones, hooks, and programs in the project.

    Included files are looked at in turn, whatever they are included for. Paths may be anywhere, and may not exist.
    """
    git = users_git(project, search_path)
    waiting, seen = list(files), set[str]()
    while git is not None and waiting and len(seen) < 100:
        file = waiting.pop()
        if (real := os.path.realpath(file)) in seen:
            continue
        seen.add(real)
        for key, value in _entries(git, file):
            if key == "include.path" or (key.startswith("includeif.") and key.endswith(".path")):
                waiting.append(found := _place(value, file.parent, home))
                yield found
            elif key == "core.hookspath":
                yield _place(value, project, home)
            elif _PROGRAM.fullmatch(key):
                yield from _started(value, project, home)


def ssh_hosts(files: Iterable[Path]) -> list[str]:
    """The hosts that addresses in configurations, and in `.gitmodules`, reach as `git` over SSH."""
    found: dict[str, None] = {}
    for file in files:
        text = _content(file).decode("utf-8", "replace")
        found.update(dict.fromkeys(match[1] or match[2] for match in _SSH.finditer(text)))
    return list(found)[:_MOST_HOSTS]


def users_git(project: Path, search_path: Iterable[str]) -> str | None:
    """The user's git; none that a sandbox could have put into the project."""
    folders = [each for each in search_path if each.startswith("/")]
    outside = [each for each in folders if not Path(os.path.realpath(each)).is_relative_to(project)]
    return shutil.which("git", path=os.pathsep.join(outside)) if outside else None


def _entries(git: str, file: Path) -> Iterator[tuple[str, str]]:
    content = _content(file)
    if _WORDS.search(content) is None:
        return
    try:
        done = subprocess.run(
            [git, "config", "--file", "-", "--no-includes", "--list", "-z"],
            input=content,
            env={},
            cwd="/",
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return  # nothing that git would take
    for entry in os.fsdecode(done.stdout).split("\0"):
        key, found, value = entry.partition("\n")
        if found:
            yield key, value


def _content(file: Path) -> bytes:
    """What a configuration says; nothing where it is not there."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(handle, _MAX)
        finally:
            os.close(handle)
    except (OSError, ValueError):
        return b""


def _place(value: str, folder: Path, home: Path) -> Path:
    if value == "~" or value.startswith("~/"):
        return home / value[2:]
    return folder / value


def _started(value: str, project: Path, home: Path) -> Iterator[Path]:
    """What of a command is a path to its program, or a file of the project."""
    try:
        words = shlex.split(value.removeprefix("!"))
    except ValueError:
        words = value.split()
    for number, word in enumerate(words):
        path = _place(word, project, home)
        if (number == 0 and "/" in word) or ("/" in word and path.is_file()) or (number and path.is_file()):
            yield path
