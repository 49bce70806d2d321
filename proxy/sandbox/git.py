"""The git folders of a project: which it may write, and what in them makes git on the host start programs."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError

_MAX_POINTER = 4096
_MAX_CONFIG = 1 << 20
_MODULES_DEPTH = 4
ITSELF = b".\n"
"""What a `commondir` says that leads nowhere else (gitrepository-layout(5)). Git works with it as without."""
_WORKTREE = re.compile(r"^\s*worktree\s*=\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Git:
    """What git needs of a project.

    `outside` is a folder beyond the project that git writes, or None. `readonly` are files and folders that exist,
    `empty` folders that must hold nothing, `made` files that must be there and say this: who could make them could
    let them say something else. `note` says why git will not work.
    """

    outside: Path | None = None
    readonly: tuple[Path, ...] = ()
    empty: tuple[Path, ...] = ()
    made: tuple[tuple[Path, bytes], ...] = ()
    note: str = ""


def git_of(project: Path, repositories: Sequence[Path] = ()) -> Git:
    """What git needs of a project, which is free of links. Raises `ConfigError` for a trap.

    `repositories` are the `.git` of submodules and other repositories in it: git on the host believes those of
    submodules whenever it looks at the project.
    """
    found = _of_project(project)
    for each in (_of_repository(project, pointer) for pointer in repositories):
        found = Git(
            found.outside,
            (*found.readonly, *each.readonly),
            (*found.empty, *each.empty),
            (*found.made, *each.made),
            found.note,
        )
    return found


def _of_repository(project: Path, pointer: Path) -> Git:
    if pointer.is_symlink():
        return Git()
    if pointer.is_dir():
        return _held(pointer, None, ())
    folder = _pointed(pointer)
    if folder is None or not folder.is_relative_to(project) or not _is_git(folder):
        return Git(readonly=(pointer,))
    return _held(folder, None, (pointer,))


def _of_project(project: Path) -> Git:
    pointer = project / ".git"
    if pointer.is_symlink():
        return Git(note=".git is a symbolic link, so it can be changed inside: look at it before you use git here")
    if not pointer.exists():
        return Git()
    if pointer.is_dir():
        return _held(pointer, None, ())
    folder = _pointed(pointer)
    if folder is None:
        return Git(readonly=(pointer,), note=".git says nothing that git would understand")
    common = _common_of_worktree(folder, project) or _module(folder, project)
    if common is None:
        note = f"git does not work inside: .git points to {folder}, which does not point back to this project"
        return Git(readonly=(pointer,), note=note)
    return _held(common, None if common.is_relative_to(project) else common, (pointer,))


def _held(folder: Path, outside: Path | None, first: tuple[Path, ...]) -> Git:
    """Hooks and configuration of a git folder, and of the submodules and worktrees in it."""
    folders = [folder, *_modules(folder / "modules", _MODULES_DEPTH)]
    readonly = [*first, *(path for each in folders for path in _files(each))]
    writable = [each for each in folders if os.access(each, os.W_OK)]  # what we cannot make, no sandbox can
    made = [(each / "commondir", ITSELF) for each in writable]
    own = [each for each in writable if _has_own(each)]
    for tree in _folders(folder / "worktrees"):
        readonly += [path for name in ("gitdir", "commondir", "config.worktree") if _real(path := tree / name)]
        own += [tree] if _has_own(folder) else []
    made += [(path, b"") for each in own if not os.path.lexists(path := each / "config.worktree") or _text(path) == ""]
    empty = tuple(each / "hooks" for each in folders if not os.path.lexists(each / "hooks"))
    return Git(outside, tuple(readonly), empty, tuple(made))


def _has_own(folder: Path) -> bool:
    """Whether git reads a `config.worktree` there; what is said in a file that the configuration includes counts."""
    text = (_text(folder / "config", _MAX_CONFIG) or "").lower()
    return "worktreeconfig" in text or "include" in text


def _files(folder: Path) -> Iterator[Path]:
    common = folder / "commondir"
    if os.path.lexists(common) and (not _real(common) or (_text(common) or "").encode() != ITSELF):
        hint = "git itself never puts it there; look at it, and remove it"
        raise ConfigError("a file that makes git read its configuration from another folder", hint, str(common))
    for name in ("config", "config.worktree", "hooks"):
        if (folder / name).is_symlink():
            raise ConfigError(
                f"git's {name} is a symbolic link, which a sandbox could turn",
                "put what it leads to in its place",
                str(folder / name),
            )
        if (folder / name).exists():
            yield folder / name


def _modules(folder: Path, depth: int) -> Iterator[Path]:
    """The git folders of submodules, whose names can have slashes in them."""
    for each in _folders(folder):
        if (each / "HEAD").is_file():
            yield each
            yield from _modules(each / "modules", depth - 1) if depth else ()
        elif depth:
            yield from _modules(each, depth - 1)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _pointed(pointer: Path) -> Path | None:
    text = _text(pointer)
    if text is None or not text.startswith("gitdir:"):
        return None
    return Path(os.path.realpath(pointer.parent / text.removeprefix("gitdir:").strip()))


def _common_of_worktree(folder: Path, project: Path) -> Path | None:
    """The git folder that a worktree shares, if this is its own part of it and says so.

    What a former sandbox wrote into `.git` is not believed: the answer must stand where git puts it, and lead back.
    """
    if folder.parent.name != "worktrees" or not _is_git(folder.parent.parent):
        return None
    back, common = _text(folder / "gitdir"), _text(folder / "commondir")
    if back is None or common is None or os.path.realpath(folder / common.strip()) != str(folder.parent.parent):
        return None
    leads_back = os.path.realpath((folder / back.strip()).parent) == str(project)
    return folder.parent.parent if leads_back else None


def _module(folder: Path, project: Path) -> Path | None:
    """The git folder of a submodule, if it names this project as where its files are."""
    if "modules" not in folder.parts or not _is_git(folder):
        return None
    named = _WORKTREE.search(_text(folder / "config") or "")
    if named is None:
        return None
    return folder if os.path.realpath(folder / named[1].strip('"')) == str(project) else None


def _is_git(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "config").is_file()


def _real(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _text(path: Path, most: int = _MAX_POINTER) -> str | None:
    """A small file of git's. A configuration is read as far as it matters."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(handle, most).decode("utf-8", "surrogateescape")
        finally:
            os.close(handle)
    except OSError:
        return None
