"""What a run left behind that programs of the host believe without asking. It is said; nothing is undone."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.sandbox.git_config import users_git
from proxy.sandbox.layout import Layout
from proxy.sandbox.masks import scan
from proxy.sandbox.profile import Profile

_PATIENCE = 30.0

type _Identity = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Before:
    """A project before a run: what of it was held, what could not be because it was not there, its repositories."""

    project: Path
    held: dict[Path, _Identity]
    absent: tuple[Path, ...]
    repositories: dict[Path, _Identity]


def before(project: Path, layout: Layout, profile: Profile) -> Before:
    """Look at a project that is about to be run in."""
    real = Path(os.path.realpath(project))
    return Before(
        real,
        {path: _identity(path) for path in layout.held},
        tuple(path for name in profile.readonly if _identity(path := real / name) is None),
        {path: _identity(path) for path in layout.repositories},
    )


def left(then: Before, search_path: Sequence[str]) -> Iterator[str]:
    """What to look at after the run, in words."""
    replaced = [path for path, identity in then.held.items() if _identity(path) != identity]
    if replaced:
        yield (
            f"warning: replaced on the host during the run, so not masked or read-only from then on: "
            f"{_few(then, replaced)}; look at it before you use git or an editor here"
        )
    if came := [path for path in then.absent if _identity(path) is not None]:
        yield f"warning: new, and believed by programs of the host: {_few(then, came)}; look at it before you use them"
    known = then.repositories
    now = scan(then.project, ())
    found = {then.project / ".git", *now.repositories, *now.bare}
    if not replaced and known.get(then.project / ".git") is not None:
        found |= set(_submodules(then.project, search_path))
    new = [path for path in sorted(found) if (identity := _identity(path)) is not None and known.get(path) != identity]
    if new:
        yield (
            f"warning: new git repositories, whose configuration can start programs when you use git here: "
            f"{_few(then, new)}; look at their configuration, or remove them, before you do"
        )


def _submodules(project: Path, search_path: Sequence[str]) -> Iterator[Path]:
    """Where the index has another repository: git looks into it for the status of this one."""
    git = users_git(project, search_path)
    if git is None:
        return
    try:
        done = subprocess.run(
            [git, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "ls-files", "--stage", "-z"],
            cwd=project,
            env={"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "HOME": "/"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return
    for entry in done.stdout.split(b"\0"):
        if entry.startswith(b"160000 "):  # git-fast-import(1): the mode of a commit of another repository
            yield project / os.fsdecode(entry.partition(b"\t")[2]) / ".git"


def _identity(path: Path) -> _Identity:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _few(then: Before, paths: Sequence[Path], most: int = 6) -> str:
    names = [str(path.relative_to(then.project) if path.is_relative_to(then.project) else path) for path in paths]
    shown = ", ".join(ascii(name)[1:-1] for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
