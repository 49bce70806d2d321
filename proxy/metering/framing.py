"""Streams of messages: server-sent events, lines of JSON, WebSocket frames, and a body that is one JSON text.

Each takes bytes in any pieces. What cannot be read raises `Unreadable`; then nothing more of the stream is understood.
"""

from collections.abc import Callable
from typing import Protocol

from proxy import limits
from proxy.metering.document import Document
from proxy.metering.skim import Member

type Emit = Callable[[Member], None]


class Unreadable(ValueError):
    """The stream is not in the form that it says."""


class Framing(Protocol):
    """A form of answers. `feed` and `end` raise `Unreadable`; `done` says that the answer itself said that it ends."""

    done: bool

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class Whole:
    """A body that is one JSON text."""

    done = False

    def __init__(self, emit: Emit) -> None:
        self._document = Document(emit)

    def feed(self, data: bytes) -> None:
        self._document.feed(data)

    def end(self) -> None:
        if not self._document.end():
            raise Unreadable("not JSON")


class Lines:
    """A JSON text on each line."""

    done = False

    def __init__(self, emit: Emit) -> None:
        self._document = Document(emit, selective=True)

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._document.feed(line)
            self._document.end()
        self._document.feed(rest)

    def end(self) -> None:
        self._document.end()


class Events:
    """Server-sent events (HTML standard, section 9.2): the data of each is a JSON text, or OpenAI's `[DONE]`."""

    def __init__(self, emit: Emit) -> None:
        self._document = Document(emit, selective=True)
        self._line = b""  # what has no end yet
        self._long = False  # the line is longer than what is held of it
        self._long_data = False
        self.done = False

    def feed(self, data: bytes) -> None:
        data = self._line + data
        held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # its line feed may be on its way
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, last = data.split(b"\n")
        for line in lines:
            self._take(line)
            self._long = False
        if self._long or len(last) > limits.MAX_METERED_TEXT:
            self._take_part(last)
            last = b""
        self._line = last + held

    def end(self) -> None:
        """The last event may lack its blank line."""
        self.feed(b"\n\n")

    def _take(self, line: bytes) -> None:
        if self._long:
            self._take_part(line)
        elif not line:
            self._document.end()
        elif line.startswith(b"data:"):
            if line[5:].strip() == b"[DONE]":
                self.done = True
            else:
                self._document.feed(line[5:])
                self._document.feed(b"\n")

    def _take_part(self, part: bytes) -> None:
        if not self._long:
            self._long, self._long_data = True, part.startswith(b"data:")
            part = part[5:]
        if self._long_data:
            self._document.feed(part)


class Frames:
    """What a server sends on a WebSocket (RFC 6455 section 5.2): the text messages. Compression is not negotiated."""

    done = False

    def __init__(self, emit: Emit) -> None:
        self._document = Document(emit, selective=True)
        self._head = b""
        self._left = 0  # of the payload of the frame that is under way
        self._text = self._wanted = self._last = False

    def feed(self, data: bytes) -> None:
        while data:
            if not self._left:
                data = self._read_head(self._head + data)
                if not self._left:
                    continue
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            if self._wanted:
                self._document.feed(part)
            if not self._left:
                self._end_frame()

    def end(self) -> None:
        return

    def _read_head(self, data: bytes) -> bytes:
        """Take a frame's head from the data, or keep it until there is a whole one; what follows it."""
        size = 2 if len(data) < 2 else 2 + {126: 2, 127: 8}.get(data[1], 0)
        if len(data) < size:
            self._head = data
            return b""
        self._head = b""
        opcode = data[0] & 0x0F
        if data[0] & 0x70 or data[1] & 0x80:
            raise Unreadable("a frame that is masked or compressed")
        self._left = data[1] if size == 2 else int.from_bytes(data[2:size])
        if opcode < 8:
            self._text = opcode == 1 or (opcode == 0 and self._text)
        self._wanted = opcode < 8 and self._text
        self._last = bool(data[0] & 0x80)
        if not self._left:
            self._end_frame()
        return data[size:]

    def _end_frame(self) -> None:
        if self._wanted and self._last:
            self._document.end()
