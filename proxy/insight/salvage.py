"""What can be read of a file that DuckDB gives up on: its compression is damaged, or a line has no end."""

import gzip
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from zlib import error as zlib_error

from proxy.audit.chain import MAX_LINE
from proxy.insight.sources import Source

_MARK = b"-\n"  # stands for what could not be read, so that it is counted as one damaged line
_PIECE = 1 << 20


def salvaged(file: Source, folder: Path) -> Source:
    """A plain copy of the file in `folder`, without what cannot be read. It is open, and has no name any more."""
    path = folder / f"salvaged-{file.fd}"
    with path.open("xb", _PIECE) as copy:
        copy.writelines(_lines(file))
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    path.unlink()
    return replace(file, fd=fd, packed=False)


def _lines(file: Source) -> Iterator[bytes]:
    with open(file.path, "rb", _PIECE) as plain:  # noqa: PTH123  a descriptor
        stream = gzip.GzipFile(fileobj=plain) if file.packed else plain
        try:
            while line := stream.readline(MAX_LINE):
                if line.endswith(b"\n") or len(line) < MAX_LINE:
                    yield line
                else:
                    _pass_over(stream)
                    yield _MARK
        except (OSError, EOFError, zlib_error):
            yield b"\n" + _MARK


def _pass_over(stream: BinaryIO | gzip.GzipFile) -> None:
    while (piece := stream.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass
