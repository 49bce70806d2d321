"""As much of HTTP/1.1 as load needs. Both ends are ours: what a message may be is known."""

from dataclasses import dataclass

from benchmarks.wire.connection import Connection, Lost
from benchmarks.wire.loop import Task

END = b"\r\n\r\n"
LAST = b"0\r\n\r\n"


@dataclass(slots=True)
class Head:
    """A head, and what of the body came with it. `length` is None for a chunked body."""

    line: bytes
    text: bytes
    length: int | None
    rest: bytes

    @property
    def status(self) -> int:
        return int(self.line[9:12])


def parse(data: bytes) -> Head | None:
    """The head at the start of `data`, or None if it is not all there."""
    end = data.find(END)
    if end < 0:
        return None
    text = data[:end]
    lower = text.lower() + b"\r\n"
    place = lower.find(b"\r\ncontent-length:")
    if place >= 0:
        length: int | None = int(lower[place + 17 : lower.index(b"\r\n", place + 17)])
    else:
        length = None if b"\r\ntransfer-encoding: chunked\r\n" in lower else 0
    return Head(text[: text.find(b"\r\n")], text, length, data[end + 4 :])


def read_head(connection: Connection) -> Task[Head | None]:
    """The next head; None if the peer ended instead."""
    data = yield from connection.next()
    while (head := parse(data)) is None:
        piece = yield from connection.receive()
        if not piece:
            return None
        data += piece
    return head


def read_body(connection: Connection, head: Head) -> Task[None]:
    """To its end. No chunk of ours ends as the last one does."""
    if head.length is None:
        tail = head.rest[-len(LAST) :]
        while tail != LAST:
            piece = yield from connection.receive()
            if not piece:
                raise Lost("the connection ended in a body")
            tail = (tail + piece)[-len(LAST) :]
        return
    left = head.length - len(head.rest)
    while left > 0:
        size = yield from connection.skip()
        if not size:
            raise Lost(f"the connection ended {left} bytes before its body did")
        left -= size


def answer(connection: Connection, status: int = 200) -> Task[bool]:
    """One answer to its end: whether the connection stays. Raises `Lost` if it is another answer."""
    head = yield from read_head(connection)
    if head is None:
        raise Lost("the connection ended before its answer")
    if head.status != status:
        raise Lost(f"{head.line!r} {head.rest[:200]!r}")
    yield from read_body(connection, head)
    return b"\r\nconnection: close" not in head.text.lower()
