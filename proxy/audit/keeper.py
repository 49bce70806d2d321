"""What keeps the audit log in order beside those who write it: checkpoints, and compression of closed files.

One process at a time does it, and never one that serves. It may die at any point: a closed file is there at least once,
and what is half done is done again.
"""

import gzip
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit import checkpoint, files
from proxy.audit.chain import Head
from proxy.audit.segments import Segment, live, packed, segments
from proxy.audit.tail import head_of
from proxy.errors import ConfigError
from proxy.state import why

_DRAFT = ".draft"
_CHUNK = 1 << 20
_LEVEL = 6

log = structlog.get_logger("audit")


def sign(folder: Path, key: Ed25519PrivateKey, sync: files.Sync) -> bool:
    """Write a checkpoint of all logs in a folder, if anything was written since the last one.

    Unless `sync` is `never`, what it vouches for is on the disk first. Returns whether it could be written.
    """
    try:
        heads = {name: _head(folder, name, sync) for name in sorted({each.log for each in segments(folder)})}
        if sync != "never":
            files.sync_folder(folder)
        there = {name: head for name, head in heads.items() if head.seq}
        for name in checkpoint.append(folder, key, there):
            log.error("the audit log ends before what was signed; `outgate audit verify` says where", log=name)
    except (OSError, ConfigError) as error:
        log.error("a checkpoint of the audit log could not be written yet", error=_words(error))  # noqa: TRY400 - a full disk is no bug
        return False
    return True


def _head(folder: Path, name: str, sync: files.Sync) -> Head:
    head = head_of(folder, name)  # before its bytes are forced to the disk, not after
    if sync != "never":
        for each in segments(folder):
            if each.log == name and not each.packed:
                _force(each.path)
    return head


def _force(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it has just got another name, under which it is forced next time, or is compressed
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def closed_files(folder: Path) -> list[Segment]:
    """The files that are closed and not compressed yet, the oldest first.

    The newest of a log stays as it is until its successor has a line: the next writer finds there where to go on.
    """
    found = []
    for each in segments(folder):
        current = live(folder, each.log)
        try:
            if each.first is None or each.packed or current.samefile(each.path) or not current.stat().st_size:
                continue
        except FileNotFoundError:
            continue
        found.append(each)
    return found


def compress(folder: Path) -> None:
    """Compress what is closed. What does not succeed stays plain, and is tried again next time."""
    for draft in folder.glob(f".*{_DRAFT}"):
        _forget([draft])
    for each in closed_files(folder):
        draft = folder / f".{each.path.name}{_DRAFT}"
        try:
            _pack(each.path, draft)
            draft.replace(packed(each.path))
            files.sync_folder(folder)
            each.path.unlink()
        except OSError as error:
            log.error("a closed file of the audit log stays uncompressed", file=each.path.name, error=_words(error))  # noqa: TRY400 - a full disk is no bug
            _forget([draft])


def _pack(path: Path, draft: Path) -> None:
    with path.open("rb") as plain:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as raw:
            with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as squeezed:
                shutil.copyfileobj(plain, squeezed, _CHUNK)
            raw.flush()
            found = os.fstat(plain.fileno())
            os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))  # deleting by age goes by this
            os.fsync(fd)


def _forget(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a file could not be removed", file=path.name, error=why(error))


def _words(error: Exception) -> str:
    return why(error) if isinstance(error, OSError) else str(error)
