"""The project folder of a sandbox: writable, but for what must not be read, changed or replaced.

A mount point cannot be renamed or removed, but the folder above it can, and then another could take its place. So
every folder between the project and something that is held is made a mount point as well.

On the host the file itself can be replaced by another one, as editors save and secrets are rotated, and with that the
kernel takes a mount away. So policies and secrets are held by their folder.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox import git_config
from proxy.sandbox.git import Git, git_of
from proxy.sandbox.links import links
from proxy.sandbox.masks import MAX_ENTRIES, scan
from proxy.sandbox.mount import Mount, MountKind, hidden, same
from proxy.sandbox.profile import Profile
from proxy.sandbox.system import is_system


@dataclass(frozen=True, slots=True)
class Project:
    """The entries for a project, and in words what of it is masked or held. The rest as in `Layout`."""

    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...]
    readonly: tuple[str, ...]
    made: tuple[tuple[Path, bytes], ...]
    held: tuple[Path, ...]
    repositories: tuple[Path, ...]
    ssh_hosts: tuple[str, ...]
    notes: tuple[str, ...]


def project_mounts(  # noqa: PLR0913, PLR0917  each is a part of it
    project: Path,
    profile: Profile,
    protected: Iterable[Path],
    secret: Iterable[Path],
    home: Path,
    search_path: Sequence[str] = (),
) -> Project:
    """The entries for a project, which is free of links. Raises `ConfigError` where it cannot be held."""
    check_place(project, home)
    masked = scan(project, profile.hide)
    git = git_of(project, masked.repositories)
    if git.outside is not None:
        check_place(git.outside, home)
    notes = [git.note] if git.note else []
    policies = [path for path in (_inside(project, each) for each in protected) if path is not None]
    secrets = [path for path in (_inside(project, each) for each in secret) if path is not None]
    if profile.nested and (policies or secrets):
        hint = "move it out of the project, or take `nested` out of the profile"
        raise ConfigError(
            "in a sandbox that may make others this file could be replaced", hint, str((policies + secrets)[0])
        )
    policies = [_folder(project, path) for path in policies]
    secrets = [_folder(project, path) for path in secrets]
    if not masked.whole:
        notes.append(f"the project has more than {MAX_ENTRIES} files: what is deep in it was not searched for secrets")
    held = [*_existing(project, profile.readonly, notes), *_searched(project, search_path, notes)]
    held += [*git.readonly, *_named(git, project, home, search_path)]
    made = [path for path, _ in git.made]
    roots = [project, *([git.outside] if git.outside else [])]
    mounts = [same(MountKind.RW, root) for root in roots]
    mounts += _pins([*held, *made, *git.empty, *policies, *secrets], roots, held=[*held, *policies])
    mounts += [same(MountKind.RO, path) for path in (*held, *made, *policies)]
    mounts += [hidden(path, folder=True) for path in git.empty]
    mounts += [hidden(path, folder=path.is_dir()) for path in (*masked.paths, *secrets)]
    return Project(
        mounts=tuple(mounts),
        hidden=tuple(_words(project, (*masked.paths, *secrets))),
        readonly=tuple(_words(project, (*held, *git.empty, *policies))),
        made=git.made,
        held=tuple(dict.fromkeys((*held, *masked.paths))),
        repositories=(project / ".git", *masked.repositories, *masked.bare),
        ssh_hosts=tuple(git_config.ssh_hosts([*_configs(git), project / ".gitmodules"])),
        notes=tuple(notes),
    )


def _folder(project: Path, path: Path) -> Path:
    """The folder that is held for a file. Raises `ConfigError` for the project itself, which has to be writable."""
    if path.is_dir():
        return path
    if path.parent != project:
        return path.parent
    hint = "move it into a folder of its own, or better out of the project"
    raise ConfigError(
        "it is in the project's own folder, where it cannot be held: it could be replaced", hint, str(path)
    )


def _named(git: Git, project: Path, home: Path, search_path: Sequence[str]) -> Iterator[Path]:
    """What of the project git's configuration names: it could start programs of it on the host."""
    files = _configs(git)
    if not files:
        return
    for path in git_config.named([*files, *git_config.of_user(home, os.environ)], project, home, search_path):
        if (real := _inside(project, path)) is not None:
            yield real


def _configs(git: Git) -> list[Path]:
    return [path for path in git.readonly if path.name in ("config", "config.worktree")]


def check_place(project: Path, home: Path) -> None:
    """Raise `ConfigError` for a folder that no sandbox may write: the home itself, or the system."""
    if home.is_relative_to(project):
        what = "the home folder" if home == project else "a folder that holds the home folder"
    elif is_system(project):
        what = "a folder of the system"
    else:
        return
    raise ConfigError(
        f"the project is {what}, which the sandbox would change", "start in a folder of its own", str(project)
    )


def _inside(project: Path, path: Path) -> Path | None:
    """The path, if it is in the project or leads through it. Raises `ConfigError` where it cannot be held there."""
    crossed = [link for link, _ in links(path) if link.is_relative_to(project)]
    if crossed:
        hint = "name the file that it leads to, or put the file in its place"
        raise ConfigError("a symbolic link in the project, which the sandbox could turn", hint, str(crossed[0]))
    real = Path(os.path.realpath(path))
    if project.is_relative_to(real):
        hint = "start in another folder, or move this one out of the way"
        raise ConfigError("the project is in a folder that the sandbox must not change or see", hint, str(path))
    if not real.is_relative_to(project):
        return None
    if not real.exists():
        raise ConfigError("it is in the project and does not exist, so the sandbox could make it", "make it", str(path))
    return real


def _existing(project: Path, names: Iterable[str], notes: list[str]) -> Iterator[Path]:
    for name in names:
        for path in project.glob(name) if "*" in name else (project / name,):
            if not os.path.lexists(path):
                continue
            if any(link.is_relative_to(project) for link, _ in links(path)):
                notes.append(f"{path.relative_to(project)} is a symbolic link, so it can be changed inside")
            else:
                yield path


def _searched(project: Path, search_path: Iterable[str], notes: list[str]) -> Iterator[Path]:
    """The folders of the host's PATH that are in the project: what is there is started before other programs."""
    for entry in search_path:
        place = Path(os.path.normpath(entry))
        if not entry.startswith("/") or not (real := Path(os.path.realpath(place))).is_relative_to(project):
            continue
        name = "the project" if real == project else real.relative_to(project)
        if real == project or not real.is_dir() or any(link.is_relative_to(project) for link, _ in links(place)):
            notes.append(f"{name} is in your PATH, and can be written inside: what is put there, you start")
        else:
            notes.append(f"{name} is read-only: it is in your PATH")
            yield real


def _pins(paths: Iterable[Path], roots: Iterable[Path], held: Iterable[Path]) -> Iterator[Mount]:
    """Writable entries for the folders above paths, from the project on; none below what cannot be written anyway."""
    closed = set(held)
    for path in paths:
        root = next((root for root in roots if path.is_relative_to(root)), path)
        above = [folder for folder in reversed(path.parents) if folder.is_relative_to(root) and folder != root]
        for folder in above:
            if folder in closed:
                break
            yield same(MountKind.RW, folder)


def _words(project: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in sorted(set(paths)):
        yield str(path.relative_to(project)) if path.is_relative_to(project) else str(path)
