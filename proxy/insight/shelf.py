"""What scans found in closed files, kept in the state folder, so that they need not be read again.

A result is found by the SHA-256 of the whole file and of the question, so a file of which one byte was changed is read
again. Nothing depends on it: what is missing, damaged or somebody else's is not used, and the folder can be removed.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import duckdb

from proxy.insight.scan import Scan
from proxy.insight.sources import Source
from proxy.insight.view import lines_sql

FOLDER = "scans"
VERSION = 1  # of how results are made
LEAST = 1 << 20  # bytes of a file below which it is read as quickly
MOST = 1 << 30  # bytes of all results; those go first that were not used for the longest time
UNUSED = 60 * 86_400.0  # seconds after which a result goes that nobody used


class Shelf:
    """The results about some files. Methods do not raise: there is a result or there is none."""

    def __init__(self, folder: Path, files: Sequence[Source]) -> None:
        self._folder = folder
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # hashing lets go of Python's lock
            found = pool.map(_digest, files)
            self._digests = {file.name: digest for file, digest in zip(files, found, strict=True) if digest}

    def take(self, database: duckdb.DuckDBPyConnection, asked: Scan, files: Sequence[Source]) -> set[str]:
        """Make the table `found` of what is here. Returns the names of the files of which it has all.

        That leaves out files that the time of `asked.since` divides.
        """
        with ExitStack() as stack:
            there: dict[str, Source] = {}
            for file in files:
                if file.name in self._digests and (fd := _open(self._path(asked, file))) is not None:
                    stack.callback(os.close, fd)
                    there[f"/proc/self/fd/{fd}"] = file
            if not there:
                return set()
            try:
                again = asked.again({path: file.path for path, file in there.items()})
                database.execute(f"CREATE OR REPLACE TEMP TABLE found AS {again}")
                divided = f"SELECT DISTINCT file FROM found WHERE part <> 'files' AND {asked.since.key} IS NULL"
                left = set(database.execute(divided).fetchall())
                if left:
                    database.execute(f"DELETE FROM found WHERE file IN ({divided})")
            except duckdb.Error as error:
                for file in there.values() if not isinstance(error, duckdb.OutOfMemoryException) else ():
                    self._path(asked, file).unlink(missing_ok=True)
                return set()
        return {file.name for file in there.values() if (file.path,) not in left}

    def keep(self, database: duckdb.DuckDBPyConnection, asked: Scan, files: Sequence[Source]) -> None:
        """Keep what the table `batch` has of files that nothing will be added to, if they are still what they were."""
        for file in files:
            if file.name in self._digests and _digest(file) == self._digests[file.name]:
                _put(database, self._path(asked, file), asked.lasting("batch", file.path))

    def tidy(self) -> None:
        """Remove results that nobody used for long, and the oldest beyond `MOST`."""
        room, now = MOST, time.time()
        for used, size, path in sorted(_results(self._folder), reverse=True):
            room -= size
            if room < 0 or now - used > UNUSED:
                with suppress(OSError):
                    path.unlink()

    def _path(self, asked: Scan, file: Source) -> Path:
        question = VERSION, duckdb.__version__, lines_sql(()), asked.question(), self._digests[file.name]
        return self._folder / f"{hashlib.sha256(repr(question).encode()).hexdigest()}.parquet"


def folder_in(state: Path) -> Path | None:
    """The folder for results in a state folder, made if need be; None if there cannot be one that is ours alone."""
    folder = state.absolute() / FOLDER
    try:
        if state.stat().st_uid != os.geteuid():
            return None
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(found.st_mode) and _ours(found) and os.access(folder, os.W_OK | os.X_OK) else None


def _ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _digest(file: Source) -> str | None:
    """The SHA-256 of a file that nothing is added to any more; None for one that may still grow, or is small."""
    if not file.closed or file.size < LEAST:
        return None
    with suppress(OSError), open(file.path, "rb") as stream:  # noqa: PTH123  a descriptor
        return hashlib.file_digest(stream, "sha256").hexdigest()
    return None


def _open(path: Path) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and _ours(found):
        with suppress(OSError):
            os.utime(fd)
        return fd
    os.close(fd)
    return None


def _put(database: duckdb.DuckDBPyConnection, path: Path, sql: str) -> None:
    """Write the result of a SELECT to a file that is there once it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        database.execute(f"COPY ({sql}) TO '/proc/self/fd/{fd}' (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
        draft.replace(path)
    except (OSError, duckdb.Error):
        draft.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _results(folder: Path) -> Iterator[tuple[float, int, Path]]:
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                found = path.stat(follow_symlinks=False)
                yield found.st_mtime, found.st_size, path
