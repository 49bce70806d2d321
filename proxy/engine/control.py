"""Between the supervisor and its workers: policies are offered to all, and put into force once all have prepared.

Over a socket pair that only the two hold. Values travel one way, from the supervisor that forked the worker; what
comes back is one of three words. Secrets never travel: each side reads them at their sources.
"""

import asyncio
import contextlib
import copyreg
import io
import os
import pickle
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import structlog

from proxy.collector import uncollected
from proxy.policy.rules import Policy
from proxy.serving import Serving

OFFER, FORCE = b"o", b"f"
PREPARED, FAILED, IN_FORCE = b"p", b"x", b"i"
ANSWER_TIME = 10.0
"""Seconds for all workers to answer one question; a new one must start first."""

_QUESTION = struct.Struct(">cII")  # what, number of the reload, size of what follows
_ANSWER = struct.Struct(">cI")  # what, number of the reload

log = structlog.get_logger("worker")


def pack(policies: Sequence[Policy]) -> bytes:
    """Compiled policies as bytes for `unpack`, between processes of one installation."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(tuple(policies))
    return buffer.getvalue()


def ask(workers: Mapping[int, socket.socket], what: bytes, number: int, body: bytes = b"") -> dict[int, bytes]:
    """Send a question to every worker; the answers by worker, empty for one that is gone or does not answer in time."""
    deadline = time.monotonic() + ANSWER_TIME
    question = _QUESTION.pack(what, number, len(body)) + body
    sent = _send([*workers.values()], question, deadline)
    return {pid: _receive(sock, number, deadline) if sock in sent else b"" for pid, sock in workers.items()}


async def follow(control: socket.socket, put: Callable[[Serving], None]) -> None:
    """Answer the supervisor until it closes: prepare what it offers, and `put` it when it says so.

    Where `put` raises, the supervisor sees the end of this, and replaces the worker.
    """
    reader, writer = await asyncio.open_unix_connection(sock=control)
    offered: Serving | None = None
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
        while True:
            what, number, size = _QUESTION.unpack(await reader.readexactly(_QUESTION.size))
            body = await reader.readexactly(size)
            if what == OFFER:
                # Large policies take a while, and requests go on meanwhile.
                offered = await asyncio.to_thread(_prepare, body)
                answer = FAILED if offered is None else PREPARED
            elif offered is None:
                raise RuntimeError("there is nothing to put into force")
            else:
                put(offered)
                offered, answer = None, IN_FORCE
            writer.write(_ANSWER.pack(answer, number))


def _prepare(body: bytes) -> Serving | None:
    try:
        # In a thread beside requests: a collection would hold them up until it has looked at every rule.
        with uncollected():
            return Serving.read(pickle.loads(body), os.environ)  # noqa: S301 - from our own supervisor, see above
    except Exception as error:
        log.exception("new policies could not be prepared", error=type(error).__name__)
        return None


def _send(workers: Sequence[socket.socket], data: bytes, deadline: float) -> set[socket.socket]:
    """Send to all side by side, so that one that does not read takes no time from the others; who has got it all."""
    rest = {sock: memoryview(data) for sock in workers}
    sent: set[socket.socket] = set()
    for sock in workers:
        sock.setblocking(False)
    while rest and time.monotonic() < deadline:
        for sock in select.select([], [*rest], [], _left(deadline))[1]:
            try:
                rest[sock] = rest[sock][sock.send(rest[sock]) :]
            except BlockingIOError:
                continue
            except OSError:
                del rest[sock]
                continue
            if not rest[sock]:
                del rest[sock]
                sent.add(sock)
    return sent


def _receive(sock: socket.socket, number: int, deadline: float) -> bytes:
    """The answer to this question; those to earlier ones are passed over."""
    data = b""
    try:
        while True:
            sock.settimeout(_left(deadline))
            more = sock.recv(_ANSWER.size - len(data))
            if not more:
                return b""
            data += more
            if len(data) == _ANSWER.size:
                answer, answered = _ANSWER.unpack(data)
                if answered == number:
                    return bytes(answer)
                data = b""
    except OSError:
        return b""


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _read_only(mapping: dict[object, object]) -> MappingProxyType[object, object]:
    return MappingProxyType(mapping)


class _Pickler(pickle.Pickler):
    """Knows read-only mappings, too."""

    dispatch_table = copyreg.dispatch_table | {MappingProxyType: lambda view: (_read_only, (dict(view),))}
