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
from pathlib import Path
from typing import Any

from proxy.errors import OutgateError
from proxy.sandbox import bubblewrap, inside, seccomp
from proxy.sandbox.layout import Layout

PORT = 8899
"""Where the proxy is found inside, on 127.0.0.1: nobody else is there yet."""

_START = 20.0  # seconds for each step
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MAX_MESSAGE = 65536
_NOT_FOUND, _NOT_RUN = 127, 126  # as shells say that a command is not there, or cannot be run


class NotStarted(OutgateError):
    """The sandbox is there, and the command cannot be started in it."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


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
            self._pid = os.pidfd_open(pid)
        except BaseException:
            listening.close()
            raise

    def prove(self, sandbox: str) -> list[str]:
        """What is wrong with the boundary, seen from inside; nothing, if it holds."""
        self._control.send(b"check")
        found: dict[str, Any] = json.loads(self._receive() or b"{}")
        wrong = [f"there is another way out: {way}" for way in found.get("ways", ["unknown"])]
        if found.get("proxy") != sandbox:
            why = found.get("why", "it is the proxy of another sandbox")
            wrong.append(f"the proxy cannot be reached from inside: {why}")
        return wrong

    def go(self) -> None:
        """Let the command take over. Raises `NotStarted` if it cannot."""
        self._control.send(b"go")
        answer = self._receive()
        if not answer:
            return
        self.process.wait()
        number = int(json.loads(answer)["errno"])
        name = self._command[0]
        if number == 2:
            raise NotStarted(
                f"there is no command {name!r} in the sandbox",
                "its home folder is a new one: name what it needs of yours under `home: read` in a profile",
                _NOT_FOUND,
            )
        raise NotStarted(f"cannot run {name!r}: {os.strerror(number).lower()}", "", _NOT_RUN)

    def send(self, number: int) -> None:
        """Send a signal to the command."""
        signal.pidfd_send_signal(self._pid, number)

    def close(self) -> None:
        """End whatever still runs inside."""
        self.process.kill()
        self.process.wait()
        self.listening.close()
        os.close(self._pid)

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
def confined(
    layout: Layout, environment: Mapping[str, str], command: Sequence[str], hostname: str, *, nested: bool
) -> Iterator[Confined]:
    """A sandbox that waits, and that is gone when the block ends. Raises `ConfigError` if there can be none.

    `nested`: the command may make sandboxes of its own in it.
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
            with _file(b"".join(os.fsencode(option) + b"\0" for option in options)) as hidden:
                process = subprocess.Popen(
                    [name, "--args", str(hidden), end, *first, *command],
                    env=environment,
                    pass_fds=(filtered, script, hidden, theirs.fileno(), stderr),
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


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()
