"""What stands where in a sandbox: one entry of its file system."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# What a masked file is to the sandbox: a file that can be read and holds nothing. The null device would not do,
# because on a mount without devices it cannot be opened, and programs take that for a fault.
EMPTY = Path(__file__).with_name("empty")


class MountKind(StrEnum):
    """How an entry is made. `HIDDEN` is an empty read-only folder, or with `EMPTY` as its source an empty file."""

    RO = "read-only"
    RW = "writable"
    TMPFS = "fresh"
    HIDDEN = "hidden"
    PROC = "proc"
    DEV = "dev"
    SYMLINK = "link"


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry. `target` is absolute, as the sandbox sees it; `source` is a path of the host, or what a link says."""

    kind: MountKind
    target: str
    source: str = ""


def same(kind: MountKind, path: Path) -> Mount:
    """The entry that shows a path of the host at its own place."""
    return Mount(kind, str(path), str(path))


def hidden(path: Path, *, folder: bool) -> Mount:
    """The entry that masks a path."""
    return Mount(MountKind.HIDDEN, str(path), "" if folder else str(EMPTY))


def in_order(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Parents before what is in them; of two for one target, the later one."""
    last = {mount.target: mount for mount in mounts}
    return tuple(sorted(last.values(), key=lambda mount: Path(mount.target).parts))


def covering(mounts: Iterable[Mount], path: Path) -> Mount | None:
    """The entry that decides what is at a path: the deepest one that is the path or holds it."""
    by_target = {mount.target: mount for mount in mounts}
    return next((by_target[place] for place in map(str, (path, *path.parents)) if place in by_target), None)


def visible(mounts: Iterable[Mount], path: Path) -> bool:
    """Whether a path of the host, free of links, can be seen at its own place."""
    mount = covering(mounts, path)
    return mount is not None and mount.kind in (MountKind.RO, MountKind.RW) and mount.source == mount.target
