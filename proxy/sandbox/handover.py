"""How a launcher hands the socket of a sandbox to a proxy: one request with a descriptor, one answer.

Over a Unix socket that keeps messages apart (`SOCK_SEQPACKET`). The sandbox lasts as long as the launcher's end of it.
"""

import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.boundary import Boundary
from proxy.errors import ConfigError, OutgateError
from proxy.identity import check_sandbox_name
from proxy.state import why

MAX_MESSAGE = 8192
_VERSION = 1
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class BadRequest(ValueError):
    """Not a request for a sandbox. The text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A sandbox that asks to be served: its name, the name of its policy, what keeps it in."""

    sandbox: str
    policy: str
    boundary: Boundary


def attach(control: socket.socket, request: Request, listening: socket.socket, patience: float) -> None:
    """Hand over the listening socket of a sandbox; returns when the proxy serves it, within `patience` seconds.

    Raises `ConfigError` with the proxy's words if it refuses, `OutgateError` if it ends or says nothing.
    """
    message = {
        "v": _VERSION,
        "sandbox": request.sandbox,
        "policy": request.policy,
        "boundary": request.boundary.value,
    }
    control.settimeout(patience)
    try:
        with contextlib.suppress(BrokenPipeError):  # one that could not start has said why, and is gone
            socket.send_fds(control, [json.dumps(message).encode()], [listening.fileno()])
        answer = json.loads(control.recv(MAX_MESSAGE) or b"null")
    except TimeoutError:
        raise OutgateError("the proxy does not answer", "look at its messages, and start it again") from None
    except (OSError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise OutgateError("the proxy ended before it served the sandbox", "its messages say why")
    if answer.get("error"):
        raise ConfigError(str(answer["error"]), str(answer.get("hint", "")), str(answer.get("where", "")))


def receive(control: socket.socket) -> tuple[Request, socket.socket] | None:
    """The request that waits on `control`, and the listening socket that came with it; None if the launcher is gone.

    Raises `BadRequest`; then every descriptor that came is closed.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE, 4)
    except OSError:
        return None
    sockets = [socket.socket(fileno=fd) for fd in descriptors]
    if not data:
        _close(sockets)
        return None
    try:
        request = _parse(data)
        if len(sockets) != 1 or not _listens_on_loopback(sockets[0]):
            raise BadRequest("not exactly one listening TCP socket on a loopback address")
    except BaseException:
        _close(sockets)
        raise
    return request, sockets[0]


def answer(control: socket.socket, error: OutgateError | None = None) -> bool:
    """Say that the sandbox is served, or why it is not; whether that could be sent."""
    problem = None if error is None else error.problems[0]
    words = {} if problem is None else {"error": problem.message, "hint": problem.hint or "", "where": problem.where}
    try:
        control.send(json.dumps({"v": _VERSION, **words}).encode())
    except OSError:
        return False
    return True


def listen(path: Path) -> socket.socket:
    """The control socket of a proxy that runs, for its owner alone; it lies in a folder that only the owner enters."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        with _short(path) as address:
            control.bind(address)
        control.listen(16)
    except OSError as error:
        control.close()
        raise ConfigError(
            f"cannot make the control socket: {why(error)}", "mend the folder, or choose one with --state", str(path)
        ) from None
    finally:
        os.umask(before)
    control.setblocking(False)
    return control


def connect(path: Path) -> socket.socket:
    """A connection to the control socket of a proxy that runs. Raises `ConfigError` if none does."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(path) as address:
            control.connect(address)
    except OSError as error:
        control.close()
        hint = "start `outgate serve`, or leave --via out so that `outgate run` starts a proxy of its own"
        raise ConfigError(f"no proxy answers there: {why(error)}", hint, str(path)) from None
    return control


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path in a form that fits into a socket address, which ends at 107 bytes."""
    if sys.platform != "linux" or len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def same_user(control: socket.socket) -> bool:
    """Whether the process at the other end runs as the user of this one."""
    if sys.platform != "linux":
        return True  # the folder lets nobody else in
    credentials = control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(credentials)[1] == os.geteuid())


def _parse(data: bytes) -> Request:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("not JSON") from None
    if not isinstance(message, dict) or set(message) != {"v", "sandbox", "policy", "boundary"}:
        raise BadRequest("not a request for a sandbox")
    if message["v"] != _VERSION:
        raise BadRequest("the launcher is of another version than the proxy")
    sandbox, policy = message["sandbox"], message["policy"]
    if not isinstance(sandbox, str) or not isinstance(policy, str) or message["boundary"] not in [*Boundary]:
        raise BadRequest("not a request for a sandbox")
    try:
        check_sandbox_name(sandbox)
    except ConfigError as error:
        raise BadRequest(str(error)) from None
    return Request(sandbox, policy, Boundary(message["boundary"]))


def _listens_on_loopback(candidate: socket.socket) -> bool:
    try:
        return (
            candidate.family == socket.AF_INET
            and candidate.type == socket.SOCK_STREAM
            and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            and str(candidate.getsockname()[0]).startswith("127.")
        )
    except OSError:
        return False


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
