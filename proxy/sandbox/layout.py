"""The file system of a sandbox, from what is wanted and what is on this machine. Looks, and changes nothing."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox.home import home_mounts, kept_folder
from proxy.sandbox.links import links
from proxy.sandbox.mount import Mount, MountKind, covering, hidden, in_order, same, visible
from proxy.sandbox.profile import Profile
from proxy.sandbox.project import project_mounts
from proxy.sandbox.system import added, system, trusted

__all__ = ["Certificates", "Layout", "Mount", "MountKind", "Wanted", "kept_folder", "lay_out"]

CERTIFICATES = "/run/outgate"
"""The folder inside that holds `ca.pem`, `ca-bundle.pem` and `truststore.p12`."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of the host that make clients trust the CA: it alone, the public roots and it, and these for Java."""

    ca: Path
    bundle: Path
    truststore: Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sandbox is to be made of.

    `workdir` is the project or in it. `kept` is a folder of ours for what the profile keeps. `protected` can be read
    inside but not changed, `secret` not even read; neither can be replaced. `interpreter` is the folder of a Python
    that is needed inside, `search_path` the host's PATH.
    """

    project: Path
    workdir: Path
    home: Path
    kept: Path
    profile: Profile
    protected: tuple[Path, ...]
    secret: tuple[Path, ...]
    certificates: Certificates
    interpreter: Path
    search_path: tuple[str, ...]
    uid: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A sandbox's file system, in the order in which it is made.

    `path` are the folders of PATH that are inside. `hidden` and `readonly` are what of the project is masked or cannot
    be written, as paths from its root; `made` are files that have to be there before, with what they say; `held` what
    is masked or read-only by itself and not by its folder; `repositories` every one in the project; `ssh_hosts`
    where its remotes are reached by SSH; `notes` what its user should know.
    """

    mounts: tuple[Mount, ...]
    workdir: str
    home: str
    path: tuple[str, ...]
    hidden: tuple[str, ...]
    readonly: tuple[str, ...]
    made: tuple[tuple[Path, bytes], ...] = ()
    held: tuple[Path, ...] = ()
    repositories: tuple[Path, ...] = ()
    ssh_hosts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def lay_out(wanted: Wanted) -> Layout:
    """Lay out a sandbox. Raises `ConfigError` where what is wanted cannot be held."""
    home, work = _real(wanted.home, "home folder"), _real(wanted.workdir, "working folder")
    where, profile = _real(wanted.project, "project"), wanted.profile
    if not work.is_relative_to(where):
        raise ConfigError("the working folder is not in the project", "start in the project", str(work))
    ours, notes = _ours(where, wanted.interpreter), list[str]()
    project = project_mounts(where, profile, (*wanted.protected, *ours), wanted.secret, home, wanted.search_path)
    mounts = [
        *system(wanted.uid),
        *added(profile.system, home, wanted.secret),
        *home_mounts(home, wanted.kept, profile, where, notes),
        *_trust(wanted.certificates),
    ]
    mounts += _interpreter(wanted.interpreter, mounts, home, where)
    mounts += project.mounts
    mounts += _masks(wanted.secret, mounts, (home, work, Path(os.path.realpath(wanted.interpreter))))
    for path in (wanted.home, wanted.project, wanted.workdir):
        mounts += _links(path, mounts)
    ordered = _without_buried(in_order(mounts))
    if (mask := covering(ordered, work)) is not None and mask.kind is MountKind.HIDDEN:
        raise ConfigError("the working folder is masked in the sandbox", "start in another folder", mask.target)
    return Layout(
        mounts=ordered,
        workdir=str(work),
        home=str(home),
        path=_path(wanted.search_path, ordered),
        hidden=project.hidden,
        readonly=project.readonly,
        made=project.made,
        held=project.held,
        repositories=project.repositories,
        ssh_hosts=project.ssh_hosts,
        notes=(*project.notes, *notes, *(f"{each} is read-only: Outgate runs from there" for each in ours)),
    )


def _real(path: Path, what: str) -> Path:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        real = None
    if real is None or not real.is_dir():
        raise ConfigError(f"the {what} is not there", "name a folder that exists", str(path))
    return real


def _ours(project: Path, interpreter: Path) -> tuple[Path, ...]:
    """Where Outgate itself is installed, as far as that is in the project: the next run starts what is there."""
    package = Path(__file__).parents[1]
    places = (Path(sys.prefix), interpreter, package, package.with_name("addons"))
    real = dict.fromkeys(Path(os.path.realpath(place)) for place in places)
    return tuple(place for place in real if place != project and place.is_relative_to(project) and place.exists())


def _trust(certificates: Certificates) -> Iterator[Mount]:
    """The certificates under names that the environment gives, and in the place of the system's."""
    yield Mount(MountKind.RO, f"{CERTIFICATES}/ca.pem", str(certificates.ca))
    yield Mount(MountKind.RO, f"{CERTIFICATES}/ca-bundle.pem", str(certificates.bundle))
    yield Mount(MountKind.RO, f"{CERTIFICATES}/truststore.p12", str(certificates.truststore))
    yield from trusted(certificates.bundle)


def _interpreter(folder: Path, mounts: Sequence[Mount], home: Path, project: Path) -> Iterator[Mount]:
    real = Path(os.path.realpath(folder))
    if visible(mounts, real):
        return
    if home.is_relative_to(real) or project.is_relative_to(real):
        hint = "install Outgate with a Python that has a folder of its own"
        raise ConfigError("the Python of Outgate would show the home folder or the project", hint, str(real))
    yield same(MountKind.RO, real)


def _masks(secret: Iterable[Path], mounts: Sequence[Mount], needed: Iterable[Path]) -> Iterator[Mount]:
    """Masks for secrets beyond the project that could be seen."""
    for path in secret:
        real = Path(os.path.realpath(path))
        for each in needed:
            if each.is_relative_to(real):
                raise ConfigError(
                    f"it must be masked, and {each}, which the sandbox needs, is in it", "move it", str(path)
                )
        if real.exists() and visible(mounts, real):
            yield hidden(real, folder=real.is_dir())


def _links(path: Path, mounts: Sequence[Mount]) -> Iterator[Mount]:
    """The symbolic links on the way to a path, where the sandbox would not have them."""
    for link, said in links(path):
        if not visible(mounts, link.parent) and str(link) not in {mount.target for mount in mounts}:
            yield Mount(MountKind.SYMLINK, str(link), said)


def _without_buried(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Without what would stand in a masked folder: there is nothing it could stand on."""
    masks = {mount.target for mount in mounts if mount.kind is MountKind.HIDDEN}
    return tuple(mount for mount in mounts if masks.isdisjoint(map(str, Path(mount.target).parents)))


def _path(entries: Iterable[str], mounts: Sequence[Mount]) -> tuple[str, ...]:
    """The folders of PATH that are inside, by their own name, or by their real one where only that is."""
    found: dict[str, None] = {}
    for entry in entries:
        if not entry.startswith("/"):
            continue
        place, real = Path(os.path.normpath(entry)), Path(os.path.realpath(entry))
        if real.is_dir() and visible(mounts, real):
            near = covering(mounts, place)
            shown = near is not None and (visible(mounts, place) or near.kind is MountKind.SYMLINK)
            found[str(place) if shown else str(real)] = None
    return tuple(found)
