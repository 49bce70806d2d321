"""The files of policies: which a path means, which a name in `extends` means, and their bytes."""

import difflib
import os
import stat
from pathlib import Path

from proxy.config.parse import MAX_BYTES, POLICY, Kind
from proxy.config.tree import shown
from proxy.config.wrong import Wrong
from proxy.errors import ConfigError

_SUFFIXES = (".yaml", ".yml")


def expand(path: Path, kind: Kind = POLICY) -> list[Path]:
    """The files that a path means: itself, or each `*.yaml` and `*.yml` directly in a folder, sorted.

    Names that start with a dot are left out. Raises `ConfigError` for a path that is not there, for a folder without
    one, and for a link in the folder that leads out of it. Messages call a file by its `kind`.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        entries = sorted(entry for entry in path.iterdir() if entry.suffix in _SUFFIXES and entry.name[0] != ".")
        files = [entry for entry in entries if not entry.is_dir()]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, kind) from None
    if not files:
        raise ConfigError(f"the folder holds no {kind.noun}", "put a `*.yaml` file into it", str(path))
    for file in files:
        if not _inside(file, path):
            raise ConfigError("a link that leads out of the folder", "copy the file, or name it itself", str(file))
    return files


def read_bytes(file: Path, kind: Kind = POLICY) -> bytes:
    """Read a regular file, and of a file that is too large no more than shows it. Raises `ConfigError`."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ConfigError("not a regular file", f"a {kind.noun} is a file that can be read again", str(file))
        with open(file, "rb", opener=_open_at_once) as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error, kind) from None


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO that took the file's place since would keep us waiting for its writer; like this it is an empty file.
    return os.open(path, flags | os.O_NONBLOCK)


def base_of(file: Path, name: str) -> Path:
    """The file that `extends: [name]` in a file means: `name.yaml` in its folder. Raises `Wrong`."""
    base = file.parent / f"{name}.yaml"
    if not os.path.lexists(base):
        near = difflib.get_close_matches(name, _stems(file.parent), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"put `{name}.yaml` into the same folder"
        raise Wrong(f"there is no {shown(base.name)} beside this file", hint)
    if not _inside(base, file.parent):
        raise Wrong(f"{shown(base.name)} is a link that leads out of the folder", "copy the file into the folder")
    return base


def _inside(file: Path, folder: Path) -> bool:
    """Whether the file, with every link followed, is below the folder."""
    root = os.path.realpath(folder)
    return os.path.commonpath((root, os.path.realpath(file))) == root


def _stems(folder: Path) -> list[str]:
    try:
        return sorted(entry.stem for entry in folder.iterdir() if entry.suffix == ".yaml")
    except OSError:
        return []


def _unreadable(path: Path, error: Exception, kind: Kind) -> ConfigError:
    what = (error.strerror if isinstance(error, OSError) else None) or "not a path"
    return ConfigError(f"cannot read the {kind.noun}: {what.lower()}", "check the path and who may read it", str(path))
