"""A command in a sandbox: bubblewrap, the first process inside, and what both say until the command runs."""

import contextlib
import json
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from proxy.errors import OutgateError
from proxy.sandbox import bubblewrap, inside, seccomp
from proxy.sandbox.child import deferred
from proxy.sandbox.layout import Layout

PORT = 8899
"""Where the proxy is found inside, on 127.0.0.1: nobody else is there yet."""

_START = 20.0  # seconds for each step
_FOLLOW = 2.0  # seconds that bubblewrap has to end after its command
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MAX_MESSAGE = 65536
_NOT_FOUND, _NOT_RUN = 127, 126  # as shells say that a command is not there, or cannot be run


class NotStarted(OutgateError):
    """The sandbox is there, and the command cannot be started in it."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Proof:
    """What is open of each way around the proxy, and why the proxy cannot be reached: empty where all is well."""

    ways: Mapping[str, str]
    unreached: str

    @property
    def wrong(self) -> list[str]:
        found = [f"there is another way out: {name}: {opened}" for name, opened in self.ways.items() if opened]
        return found + ([f"the proxy cannot be reached from inside: {self.unreached}"] if self.unreached else [])


class Confined:
    """A sandbox that waits to become its command. `listening` is the one socket that leads out of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket, command: Sequence[str]) -> None:
        self.process = process
        self._control = control
        self._command = command
        listening, pid = self._receive_socket()
        if listening is None or pid is None:
            raise self._broken()
        self.listening = listening
        try:
            self._number, self._pid = pid, os.pidfd_open(pid)
            self._first = os.pidfd_open(_parent(pid))
        except BaseException:
            listening.close()
            raise

    def prove(self, sandbox: str) -> "Proof":
        """The boundary, as it is seen from inside."""
        self._control.send(b"check")
        found: dict[str, Any] = json.loads(self._receive() or b"{}")
        ways = {str(name): str(opened) for name, opened in found.get("ways", [("the look at it", "no answer")])}
        mine = found.get("proxy") == sandbox
        why = "" if mine else str(found.get("why", "it is the proxy of another sandbox"))
        return Proof(ways, why)

    def go(self) -> Self:
        """Let the command take over. Raises `NotStarted` if it cannot."""
        self._control.send(b"go")
        answer = self._receive()
        if not answer:
            return self
        self.process.wait()
        number = int(json.loads(answer)["errno"])
        name = self._command[0]
        if number == 2:
            raise NotStarted(
                f"there is no command {name!r} in the sandbox",
                "its home folder is a new one: name what it needs of yours, and what runs it if it is a script, under "
                "`home: read` in a profile",
                _NOT_FOUND,
            )
        raise NotStarted(f"cannot run {name!r}: {os.strerror(number).lower()}", "", _NOT_RUN)

    def send_signal(self, number: int, /) -> None:
        """Send a signal to the command."""
        signal.pidfd_send_signal(self._pid, number)

    def wait(self) -> int:
        """Wait for the end of the command; its exit status.

        Who holds the first process of the sandbox still keeps bubblewrap from seeing that end, so it has a limit.
        """
        select.select([self._pid], [], [])
        try:
            return self.process.wait(_FOLLOW)
        except subprocess.TimeoutExpired:
            status = _exit_code(self._number)
            self.kill()
            self.process.wait()
            return status

    def kill(self) -> None:
        """End everything inside: with the first process of a process namespace the kernel ends all others."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    def close(self) -> None:
        """End whatever still runs inside, and wait for that."""
        self.kill()
        select.select([self._first], [], [], _START)
        self.listening.close()
        for fd in (self._pid, self._first):
            os.close(fd)

    def _receive_socket(self) -> tuple[socket.socket | None, int | None]:
        self._wait()
        size = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(_CREDENTIALS.size)
        _, ancillary, _, _ = self._control.recvmsg(_MAX_MESSAGE, size, socket.MSG_CMSG_CLOEXEC)
        listening, pid = None, None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                listening = socket.socket(fileno=struct.unpack("i", content[:4])[0])
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = _CREDENTIALS.unpack(content)[0]  # as this process sees it, not as it sees itself
        return listening, pid

    def _receive(self) -> bytes:
        self._wait()
        return self._control.recv(_MAX_MESSAGE)

    def _wait(self) -> None:
        if not select.select([self._control], [], [], _START)[0]:
            raise OutgateError("the sandbox does not start", "look at the load of the machine, and try again")

    def _broken(self) -> OutgateError:
        self.process.kill()
        _, said = self.process.communicate()
        return bubblewrap.explain((said or b"").decode(errors="replace"))


@contextlib.contextmanager
def confined(  # noqa: PLR0913  each is a part of it
    layout: Layout,
    environment: Mapping[str, str],
    command: Sequence[str],
    hostname: str,
    *,
    nested: bool,
    output: int | None = None,
) -> Iterator[Confined]:
    """A sandbox that waits, and that is gone when the block ends. Raises `ConfigError` if there can be none.

    `nested`: the command may make sandboxes of its own in it. `output` is a descriptor in the place of stdout.
    """
    bwrap = bubblewrap.find()
    with contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with theirs, _file(seccomp.program(platform.machine(), nested=nested)) as filtered, _script() as script:
            # What bubblewrap says itself goes to us, and what the command says where ours goes.
            stderr = os.dup(2)
            stack.callback(os.close, stderr)
            name, *options, end = bubblewrap.arguments(bwrap, layout, seccomp=filtered, hostname=hostname)
            first = (interpreter(), "-I", "-S", f"/proc/self/fd/{script}", str(theirs.fileno()), str(stderr), str(PORT))
            # Not on the command line, which can be read inside: the options tell of the machine around.
            with _file(b"".join(os.fsencode(option) + b"\0" for option in options)) as hidden, deferred():
                # It never sees these signals. A key of the terminal reaches it as it does the command, which decides.
                process = subprocess.Popen(
                    [name, "--args", str(hidden), end, *first, *command],
                    env=environment,
                    pass_fds=(filtered, script, hidden, theirs.fileno(), stderr),
                    stdout=output,
                    stderr=subprocess.PIPE,
                )
                stack.callback(_end, process)
        sandbox = Confined(process, ours, command)
        stack.callback(sandbox.close)
        yield sandbox


def interpreter() -> str:
    """The Python outside of any virtual environment: it needs its standard library alone."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


@contextlib.contextmanager
def _script() -> Iterator[int]:
    fd = os.open(Path(inside.__file__), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[int]:
    fd = os.memfd_create("outgate", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _parent(pid: int) -> int:
    """The parent of a process that nothing hostile runs in yet. Raises `OutgateError` if it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))
    except (OSError, StopIteration):
        raise OutgateError("the sandbox ended before it was ready", "try again") from None


def _exit_code(pid: int) -> int:
    """That of a process that has ended, and that nobody took note of yet: the last field of its `stat` (proc(5))."""
    return os.waitstatus_to_exitcode(int(Path(f"/proc/{pid}/stat").read_bytes().split()[-1]))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End bubblewrap at any moment. Its child waits for a word from it first, and would wait for ever without it."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # so that no child comes while they are looked for
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split():
                os.kill(int(child), signal.SIGKILL)
        process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()
