"""The files of policies: which a path means, which a name in `extends` means, and their bytes."""

import difflib
import os
import stat
from pathlib import Path

from proxy.config.parse import MAX_BYTES
from proxy.config.tree import shown
from proxy.config.wrong import Wrong
from proxy.errors import ConfigError

_SUFFIXES = (".yaml", ".yml")


def expand(path: Path) -> list[Path]:
    """The policy files that a path means: itself, or each `*.yaml` and `*.yml` directly in a folder, sorted.

    Names that start with a dot are left out. Raises `ConfigError` for a path that is not there, and for a folder
    without a policy.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        entries = sorted(entry for entry in path.iterdir() if entry.suffix in _SUFFIXES and entry.name[0] != ".")
        files = [entry for entry in entries if not entry.is_dir()]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not files:
        raise ConfigError("the folder holds no policy", "put a `*.yaml` file into it", str(path))
    return files


def read_bytes(file: Path) -> bytes:
    """Read a regular file, and of a file that is too large no more than shows it. Raises `ConfigError`."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ConfigError("not a regular file", "a policy is a file that can be read again", str(file))
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def base_of(file: Path, name: str) -> Path:
    """The file that `extends: [name]` in a file means: `name.yaml` in its folder. Raises `Wrong`."""
    base = file.parent / f"{name}.yaml"
    if not os.path.lexists(base):
        near = difflib.get_close_matches(name, _stems(file.parent), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"put `{name}.yaml` into the same folder"
        raise Wrong(f"there is no {shown(base.name)} beside this file", hint)
    folder = os.path.realpath(file.parent)
    if os.path.commonpath((folder, os.path.realpath(base))) != folder:
        raise Wrong(f"{shown(base.name)} is a link that leads out of the folder", "copy the file into the folder")
    return base


def _stems(folder: Path) -> list[str]:
    try:
        return sorted(entry.stem for entry in folder.iterdir() if entry.suffix == ".yaml")
    except OSError:
        return []


def _unreadable(path: Path, error: Exception) -> ConfigError:
    what = (error.strerror if isinstance(error, OSError) else None) or "not a path"
    return ConfigError(f"cannot read the policy: {what.lower()}", "check the path and who may read it", str(path))
