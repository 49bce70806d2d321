"""Files of git's that must be there while a sandbox runs, so that it cannot make them itself."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.errors import ConfigError
from proxy.state import why


@contextlib.contextmanager
def made(files: Sequence[tuple[Path, bytes]]) -> Iterator[None]:
    """Make files that are not there, with this content; remove them again, if no other run has them.

    Each run holds a shared lock on each. Raises `ConfigError` if one cannot be made, or says something else.
    """
    with contextlib.ExitStack() as stack:
        for path, content in files:
            stack.callback(_leave, path, _have(path, content))
        yield


def _have(path: Path, content: bytes) -> int:
    try:
        while True:
            fd = _open(path, content)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.lexists(path) and os.path.samestat(os.fstat(fd), os.lstat(path)):
                break
            os.close(fd)  # another run removed it meanwhile
    except OSError as error:
        raise ConfigError(f"cannot make a file that git needs: {why(error)}", "", str(path)) from None
    if os.pread(fd, 4096, 0) != content:
        os.close(fd)
        raise ConfigError("it changed while the sandbox was made", "look at it, and remove it", str(path))
    return fd


def _open(path: Path, content: bytes) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        # Git on the host could read it at once: it is put there as a whole.
        new = path.with_name(f"{path.name}.outgate-{os.getpid()}")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, content)
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
        finally:
            os.close(fd)
            new.unlink()
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _leave(path: Path, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(path)):
            path.unlink()
    except OSError:
        pass  # another run has it, or it is gone: it does no harm
    finally:
        os.close(fd)
