"""Which files hold an audit log: those that are named, those of a folder, those of a state folder and of its runs."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from proxy.audit.checkpoint import FILE as CHECKPOINTS
from proxy.audit.pieces import Piece, pieces
from proxy.audit.segments import segment_of, segments
from proxy.errors import ConfigError

STDIN = "-"


def check(names: Sequence[str]) -> None:
    """Raises `ConfigError` for a name that means no file that could be read."""
    for name in names:
        if name != STDIN:
            _check(Path(name))


def files_of(names: Sequence[str]) -> Iterator[tuple[str, Piece | None]]:
    """The files that the names mean, each once, in the order given; those of a folder in the order of their lines.

    A file that Outgate writes comes as a `Piece`, because it may be closed and compressed before it is read. A folder
    is listed once all before it was read, so no more files are open than one folder has. Raises `ConfigError`.
    """
    seen: set[object] = set()
    for name in names:
        if name == STDIN:
            if STDIN not in seen:
                seen.add(STDIN)
                yield STDIN, None
            continue
        path = Path(name)
        try:
            for folder in _folders(path) if path.is_dir() else [path]:
                for file, piece in _files(folder):
                    key = _identity(file, piece)
                    if key not in seen:
                        seen.add(key)
                        yield str(file), piece
                    elif piece is not None and piece.held is not None:
                        piece.held.close()
        except OSError as error:
            raise _unreadable(path, error) from None


def _check(path: Path) -> None:
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            if not os.access(path, os.R_OK):
                raise PermissionError(13, "Permission denied")
            return
        found = any(segments(folder) or _others(folder) for folder in _folders(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not found:
        hint = "name a state folder, its folder audit, or files"
        raise ConfigError("the folder holds no audit log (*.jsonl)", hint, str(path))


def _folders(path: Path) -> list[Path]:
    """The folders of logs of a state folder: that of `outgate serve`, then those of runs; else the folder itself."""
    runs = path / "runs"
    inside = [path / "audit", *(sorted(each / "audit" for each in runs.iterdir()) if runs.is_dir() else [])]
    return [each for each in inside if each.is_dir()] or [path]


def _files(path: Path) -> list[tuple[Path, Piece | None]]:
    if not path.is_dir():
        return [(path, None)]
    return [*((each.segment.path, each) for each in pieces(path)), *((each, None) for each in _others(path))]


def _others(folder: Path) -> list[Path]:
    """The files of a folder that others than Outgate named, and that could hold events."""
    # A file that somebody else rotated keeps the name in front: worker-0.jsonl.1, worker-0.jsonl-20261120.
    return sorted(
        each
        for each in folder.iterdir()
        if segment_of(each) is None
        and each.name != CHECKPOINTS
        and ".jsonl" in each.name
        and not each.name.startswith(".")
        and each.is_file()
    )


def _identity(file: Path, piece: Piece | None) -> object:
    """What two names of one file have in common. One that is compressed meanwhile has none but its name."""
    with suppress(FileNotFoundError):
        status = os.fstat(piece.held.fileno()) if piece is not None and piece.held else file.stat()
        return status.st_dev, status.st_ino
    return str(file)


def _unreadable(path: Path, error: Exception) -> ConfigError:
    what = (error.strerror if isinstance(error, OSError) else None) or "not a path"
    return ConfigError(f"cannot read the log: {what.lower()}", "check the path and who may read it", str(path))
