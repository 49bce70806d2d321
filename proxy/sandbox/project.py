"""The project folder of a sandbox: writable, but for what must not be read, changed or replaced.

A mount point cannot be renamed or removed, but the folder above it can, and then another could take its place. So
every folder between the project and something that is held is made a mount point as well.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox.git import git_of
from proxy.sandbox.links import links
from proxy.sandbox.masks import MAX_ENTRIES, scan
from proxy.sandbox.mount import Mount, MountKind, hidden, same
from proxy.sandbox.profile import Profile
from proxy.sandbox.system import is_system


@dataclass(frozen=True, slots=True)
class Project:
    """The entries for a project, and in words what of it is masked or held."""

    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...]
    readonly: tuple[str, ...]
    notes: tuple[str, ...]


def project_mounts(
    project: Path, profile: Profile, protected: Iterable[Path], secret: Iterable[Path], home: Path
) -> Project:
    """The entries for a project, which is free of links. Raises `ConfigError` where it cannot be held."""
    check_place(project, home)
    git = git_of(project)
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
    masked = scan(project, profile.hide)
    if not masked.whole:
        notes.append(f"the project has more than {MAX_ENTRIES} files: what is deep in it was not searched for secrets")
    held = [*_existing(project, profile.readonly, notes), *git.readonly]
    roots = [project, *([git.outside] if git.outside else [])]
    mounts = [same(MountKind.RW, root) for root in roots]
    mounts += _pins([*held, *git.empty, *policies, *secrets], roots, held=[*held, *policies])
    mounts += [same(MountKind.RO, path) for path in (*held, *policies)]
    mounts += [hidden(path, folder=True) for path in git.empty]
    mounts += [hidden(path, folder=path.is_dir()) for path in (*masked.paths, *secrets)]
    return Project(
        tuple(mounts),
        tuple(_words(project, (*masked.paths, *secrets))),
        tuple(_words(project, (*held, *git.empty, *policies))),
        tuple(notes),
    )


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
        path = project / name
        if not os.path.lexists(path):
            continue
        if any(link.is_relative_to(project) for link, _ in links(path)):
            notes.append(f"{name} is a symbolic link, so it can be changed inside")
        else:
            yield path


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
