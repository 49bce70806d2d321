"""What an engine is to the benchmark: a name, what it can do, and how it is started."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DENIED = "/denied"  # a path that every engine refuses
ELSEWHERE = "refused.example"  # a host that every engine refuses, without looking it up
_START = 60.0


class FailedError(Exception):
    """An engine does not start, or could not do a work."""


@dataclass(frozen=True)
class Site:
    """What an engine is to let through: `localhost` at the upstream's `ports` (inspected, tunnel, http2), with SECRET
    put in, and `hosts`, names that lead to the inspected port and that it must map to 127.0.0.1 itself."""

    folder: Path
    ca_file: Path
    ports: dict[str, int]
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proxy:
    """A started engine. `address` None is no proxy; `ca_file` is what clients trust for inspected connections;
    `connect` are header lines for their CONNECT; `pid` is the root of its process tree."""

    address: tuple[str, int] | None
    ca_file: Path
    pid: int | None
    connect: str = ""


class Engine(Protocol):
    """One file of this folder. `can` names what it takes: `inspect` and, of that, `handshake` (new connections);
    `hosts`; `tunnel`; `http2`; `end-to-end` (nothing is opened, and the client sends the secret itself)."""

    @property
    def name(self) -> str: ...

    @property
    def can(self) -> frozenset[str]: ...

    def missing(self) -> str | None:
        """Why it cannot be started here, or None."""
        ...

    def version(self) -> str:
        """Of the program."""
        ...

    def start(self, site: Site) -> AbstractContextManager[Proxy]:
        """Runs while the block does. Raises `FailedError` if it does not start."""
        ...


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def process(command: list[str], port: int, log: Path, environ: dict[str, str] | None = None) -> Iterator[int]:
    """A command that listens on the port while the block runs: its process id."""
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environ, cwd=log.parent) as running,
    ):
        try:
            _wait_for(port, running, log)
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()


def _wait_for(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and running.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise FailedError(f"{running.args!r} does not listen:\n{log.read_text()[-2000:]}")


def version_of(command: list[str]) -> str:
    """The first line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
