"""What `outgate init` may look at: files, read in bounds; the environment; clients, asked for their defaults."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proxy.starter.place import Address, Place, Unusable, read_address
from proxy.state import why

MAX_FILE = 1 << 20  # bytes of a configuration file
MAX_ANSWER = 64 * 1024  # characters of what a client says
MAX_FOUND = 64  # addresses of one client
ANSWER_TIME = 10.0  # seconds for a client to say what it is asked

type Ask = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True, slots=True)
class Found:
    """One address that a client is configured to use. `where` says by what: a key and a file, or a variable.

    `project` is true for what a file of the project says: whoever wrote the project chose it, not its user.
    """

    client: str
    where: str
    address: Address
    project: bool = False

    @property
    def place(self) -> Place:
        return self.address.place


@dataclass(slots=True)
class Machine:
    """One machine as `outgate init` sees it.

    `remarks` collects what it could not use; no value is ever in there. `settled` are the clients whose default its
    user has replaced, with whatever.
    """

    project: Path
    home: Path | None
    environ: Mapping[str, str]
    etc: Path = Path("/etc")
    ask: Ask = lambda _: None
    remarks: list[str] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)

    @property
    def config_home(self) -> Path | None:
        """`$XDG_CONFIG_HOME` or `~/.config`; None without a home."""
        given = self.environ.get("XDG_CONFIG_HOME", "")
        if Path(given).is_absolute():
            return Path(given)
        return None if self.home is None else self.home / ".config"

    def remark(self, where: str, text: str) -> None:
        """Note what cannot be used, once."""
        if (line := f"{where}: {text}") not in self.remarks and len(self.remarks) < MAX_FOUND:
            self.remarks.append(line)

    def shown(self, path: Path) -> str:
        """The path as people write it: from the project or from the home folder on."""
        if self.inside(path):
            return str(path.relative_to(self.project))
        if self.home is not None and path.is_relative_to(self.home):
            return f"~/{path.relative_to(self.home)}"
        return str(path)

    def inside(self, path: Path) -> bool:
        """Whether the file is the project's: not if the project is all that its user has."""
        whole = self.home is not None and self.home.is_relative_to(self.project)
        return not whole and path.is_relative_to(self.project)

    def read(self, path: Path | None, limit: int = MAX_FILE) -> str | None:
        """The text of a regular file; None if there is none, or with a remark if it cannot be read."""
        if path is None:
            return None
        try:
            # Not blocking: a named pipe would wait for somebody to write.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return _text(handle, limit)
            finally:
                os.close(handle)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, Unusable, ValueError) as error:
            reason = why(error) if isinstance(error, OSError) else str(error)
            self.remark(self.shown(path), "not UTF-8" if isinstance(error, UnicodeDecodeError) else reason)
            return None

    def names(self, folder: Path, limit: int = 1000) -> list[str]:
        """The sorted names in a folder, no more than `limit`; none if it cannot be read."""
        try:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry, _ in zip(entries, range(limit), strict=False))
        except OSError:
            return []

    def found(self, client: str, where: str, text: object, *, project: bool = False) -> list[Found]:
        """What an address in a configuration means: one `Found`, or none and a remark."""
        if not isinstance(text, str) or not text.strip():
            return []
        try:
            return [Found(client, where, read_address(text), project)]
        except Unusable as unusable:
            self.remark(f"{client}, {where}", str(unusable))
            return []


def _text(handle: int, limit: int) -> str:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise Unusable("not a regular file")
    with open(handle, "rb", closefd=False) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Unusable(f"larger than {limit >> 20} MiB")
    return data.decode("utf-8-sig")


def ask_client(command: Sequence[str], environ: Mapping[str, str], folder: Path = Path("/")) -> str | None:
    """What a client that is installed says. It is started in a neutral folder, so that no project speaks for it.

    None if it is not there, fails, takes too long, or says more than can be meant.
    """
    path = os.pathsep.join(each for each in environ.get("PATH", "").split(os.pathsep) if Path(each).is_absolute())
    program = shutil.which(command[0], path=path)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ANSWER_TIME,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    said = done.stdout[: MAX_ANSWER + 1].decode("utf-8", errors="replace")
    return said if done.returncode == 0 and len(said) <= MAX_ANSWER else None
