"""The files of audit logs, held open, so that what is read stays the same while they are closed and compressed.

DuckDB is given `/proc/self/fd/N` for each: it reads what was opened here, whatever becomes of the name, and takes no
character of a name for a pattern.
"""

import gzip
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import error as zlib_error

from proxy.audit.chain import MAX_LINE, link_of
from proxy.audit.segments import packed, segment_of
from proxy.errors import ConfigError
from proxy.review.log_files import STDIN, check, files_of
from proxy.state import why

_GZIP = b"\x1f\x8b"
BATCH = 1 << 30  # bytes of lines
_PACKED = 7  # times that compression makes a log smaller, about


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name for readers, its descriptor, whether it is compressed, and its size in bytes."""

    name: str
    fd: int
    packed: bool
    size: int

    @property
    def path(self) -> str:
        """The path to read it by in this process."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def closed(self) -> bool:
        """Whether nothing will be added to it any more."""
        segment = segment_of(Path(self.name))
        return self.packed or (segment is not None and segment.first is not None)

    @property
    def lines_size(self) -> int:
        """The bytes of its lines, about."""
        return self.size * (_PACKED if self.packed else 1)


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to read, and those that were left out because they are copies: pairs of copy and original."""

    files: tuple[Source, ...]
    copies: tuple[tuple[str, str], ...] = ()

    def with_file(self, file: Source) -> "Sources":
        """The same with another file in the place of the one of that name."""
        return replace(self, files=tuple(file if each.name == file.name else each for each in self.files))


@contextmanager
def opened(names: Sequence[str]) -> Iterator[Sources]:
    """The files that are meant by names of files, state folders and folders with logs. Raises `ConfigError`."""
    if STDIN in names:
        raise ConfigError("this command reads files, not stdin", "write the log to a file, and name that")
    check(names)
    with suppress(OSError, ValueError):  # a long history is many files
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as stack:
        found = []
        for name, piece in files_of(names):
            if piece is not None and piece.held is not None:
                fd = stack.enter_context(piece.held).fileno()
            else:
                fd = _open(Path(name))
                stack.callback(os.close, fd)
            found.append(Source(name, fd, os.pread(fd, 2, 0) == _GZIP, os.fstat(fd).st_size))
        yield _without_copies([each for each in found if each.size])


def batches(files: Sequence[Source]) -> Iterator[list[Source]]:
    """The files in groups of a size, so that what is made of one can be put aside before the next."""
    batch: list[Source] = []
    for file in files:
        batch.append(file)
        if sum(each.lines_size for each in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _open(path: Path) -> int:
    try:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.open(packed(path), os.O_RDONLY | os.O_CLOEXEC)  # it was compressed meanwhile
    except OSError as error:
        raise ConfigError(
            f"cannot read the log: {why(error)}", "check the path and who may read it", str(path)
        ) from None


def _without_copies(files: list[Source]) -> Sources:
    """Leave out what begins with the same line of the same chain as another file: the longer one has it all."""
    first: dict[bytes, Source] = {}
    copies, kept = [], []
    for file in sorted(files, key=lambda each: (not each.packed, -each.size)):
        link = link_of(first_line(file))
        if link is not None and link.value in first:
            copies.append((file.name, first[link.value].name))
            continue
        if link is not None:
            first[link.value] = file
        kept.append(file)
    return Sources(tuple(sorted(kept, key=files.index)), tuple(sorted(copies)))


def first_line(file: Source) -> bytes:
    """The first line of a file, with its line break; empty if there is none that can be read."""
    with suppress(OSError, EOFError, zlib_error), open(file.path, "rb") as plain:  # noqa: PTH123  a descriptor
        stream = gzip.GzipFile(fileobj=plain) if file.packed else plain
        return stream.readline(MAX_LINE)
    return b""
