"""Which policy files there are and in which state: what `outgate serve` looks at to notice a change.

Polling, because it works on every file system, and because it follows symlinks: a Kubernetes ConfigMap changes by one.
"""

import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

POLL_TIME = 1.0
"""Seconds between two looks, and how long files must rest before they are read: an editor may write in two steps."""

_SUFFIXES = (".yaml", ".yml")

# By path: device, inode, size, time of content and of inode in nanoseconds; or the number of an error.
type Snapshot = dict[str, tuple[int, ...]]


def snapshot(paths: Iterable[Path]) -> Snapshot:
    """The state of every file that a load of these files and folders could read.

    A policy extends files of its own folder alone, so of a file's folder all `*.yaml` count.
    """
    found: Snapshot = {}
    for path in paths:
        found[str(path)] = _version(path)
        try:
            folder = path if stat.S_ISDIR(path.stat().st_mode) else path.parent
            entries = sorted(folder.iterdir())
        except (OSError, ValueError) as error:
            found[f"{path} in its folder"] = _errno(error)
            continue
        found.update((str(entry), _version(entry)) for entry in entries if _is_policy(entry.name))
    return found


class Watch:
    """Tells when the files have changed, and rest. `seen` is their state before they were read for the first time."""

    def __init__(self, paths: Sequence[Path], seen: Snapshot) -> None:
        self._paths = paths
        self._read = self._last = seen
        self._also: tuple[Path, ...] = ()
        self._looked = time.monotonic()

    def due(self) -> bool:
        """Whether to read again: not what was read, and unchanged since the last look. Looks once in `POLL_TIME`."""
        now = time.monotonic()
        if now - self._looked < POLL_TIME:
            return False
        self._looked = now
        before, self._last = self._last, self._look()
        return self._last == before and self._last != self._read

    def begin(self) -> None:
        """The files are read now."""
        self._also = ()
        self._read = self._look()

    def steady(self) -> bool:
        """Whether the files are still as they were at `begin`. If not, the next looks find that."""
        return self._look() == self._read

    def wait_for(self, files: Iterable[Path]) -> None:
        """What was read could not be used: a change of one of these files is a reason to try again, too."""
        self._also = tuple(files)
        self._read = self._read | {str(path): _version(path) for path in self._also}

    def again(self) -> None:
        """What was read could not be used for now: try again soon."""
        self._read = {}

    def _look(self) -> Snapshot:
        return snapshot(self._paths) | {str(path): _version(path) for path in self._also}


def _is_policy(name: str) -> bool:
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        return _errno(error)
    if stat.S_ISDIR(found.st_mode):
        # Any file that comes and goes in a folder changes its time; what counts is the list of policies in it.
        return (found.st_dev, found.st_ino)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _errno(error: Exception) -> tuple[int, ...]:
    return (getattr(error, "errno", None) or 0,)
