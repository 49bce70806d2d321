"""Every TLS hello that a client sends in a tunnel, judged before its last byte reaches the server.

The first bytes of a tunnel are held until it is known whether they are a hello. It need not be the last one: a server
may ask for another (RFC 8446 section 4.1.4), or start TLS after some talk in plain text, and then goes by the name in
that one.
"""

import re
from collections.abc import Callable
from enum import Enum, auto

from proxy import limits
from proxy.hello import BadHello, Hello, hello_end, looks_like_tls, read_hello

# Content types of TLS records, RFC 8446 section 5.1.
_CHANGE, _ALERT, _HANDSHAKE, _DATA = 0x14, 0x15, 0x16, 0x17
_HEAD = 5  # of a record
_MAX_RECORD = (1 << 14) + 256  # RFC 8446 section 5.2
_SERVER_HELLO = 0x02
_RANDOM = slice(6, 38)  # of a ServerHello, behind the head of the message and the version
# The random value of a ServerHello that asks for another ClientHello, RFC 8446 section 4.1.3.
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
# How a hello begins in other bytes; its first record may hold one byte alone.
_IN_TEXT = re.compile(rb"\x16\x03.(?:[\x00-\x40].\x01\x00|\x00\x01\x01\x16)", re.DOTALL)
_LONGEST = 7  # bytes that one match has


class _Phase(Enum):
    FIRST = auto()  # nothing has passed yet
    PLAIN = auto()  # no TLS so far
    HELLO = auto()  # a later hello has begun; what is not its last byte passes
    SENT = auto()  # a hello has passed, and the server has not answered it
    RETRY = auto()  # the server wants another one
    OVER = auto()  # none can follow that could be read


class Hellos:
    """The hellos of one tunnel. `judge` is called with each; the caller sends nothing more if that said no."""

    def __init__(self, judge: Callable[[Hello], None]) -> None:
        self._judge = judge
        self._phase = _Phase.FIRST
        self._buffer = bytearray()  # of the client, not looked at yet
        self._skip = 0  # bytes of the client's record that need no look
        self._text = 0  # bytes in plain text that were looked at
        self._records = bytearray()  # of the server, not looked at yet
        self._answer = bytearray()  # the server's handshake message so far

    @property
    def held(self) -> bool:
        """Whether there are bytes that wait for the rest of the first hello."""
        return self._phase is _Phase.FIRST and bool(self._buffer)

    @property
    def begun(self) -> bool:
        """Whether anything of the client has passed."""
        return self._phase is not _Phase.FIRST

    def from_client(self, data: bytes) -> bytes:
        """What may go on to the server, if `judge` has no objection. Raises `BadHello`; then nothing may."""
        if self._phase is _Phase.OVER:
            return data
        self._buffer += data
        if self._phase is _Phase.FIRST:
            data = bytes(self._buffer)
            if not looks_like_tls(data):
                self._phase = _Phase.PLAIN
            elif not self._take():
                return b""
        while self._look():
            pass
        return data

    def from_server(self, data: bytes) -> None:
        """Note what the server answers to a hello."""
        if self._phase not in (_Phase.SENT, _Phase.RETRY):
            return
        self._records += data
        while self._phase in (_Phase.SENT, _Phase.RETRY) and len(self._records) >= _HEAD:
            kind, size = self._records[0], int.from_bytes(self._records[3:_HEAD])
            if kind not in (_CHANGE, _HANDSHAKE) or size > _MAX_RECORD:
                self._phase = _Phase.PLAIN  # it has not understood, and may still start TLS
            elif len(self._records) < _HEAD + size:
                return
            else:
                if kind == _HANDSHAKE:
                    self._answer += self._records[_HEAD : _HEAD + size]
                    self._read_answer()
                del self._records[: _HEAD + size]

    def _read_answer(self) -> None:
        size = 4 + int.from_bytes(self._answer[1:4])
        if self._answer[:1] != bytes([_SERVER_HELLO]) or size > _MAX_RECORD:
            self._phase = _Phase.OVER
        elif 4 < size <= len(self._answer):
            retry = self._answer[_RANDOM] == _RETRY and self._phase is _Phase.SENT
            self._phase = _Phase.RETRY if retry else _Phase.OVER
            del self._answer[:size]

    def _look(self) -> bool:
        """Look at what the client sent; whether there may be more to see in it."""
        if self._phase is _Phase.PLAIN:
            return self._find()
        if self._phase is _Phase.HELLO:
            return self._take()
        if self._phase is _Phase.OVER:
            self._buffer.clear()
            return False
        return self._step()

    def _find(self) -> bool:
        """Look for a hello in plain text, in as much of it as a head may have."""
        match = _IN_TEXT.search(self._buffer)
        if match is not None:
            del self._buffer[: match.start()]
            self._phase = _Phase.HELLO
            return True
        seen = max(0, len(self._buffer) - _LONGEST + 1)
        del self._buffer[:seen]
        self._text += seen
        if self._text <= limits.MAX_HEAD:
            return False
        self._phase = _Phase.OVER
        return True

    def _take(self) -> bool:
        """Have the hello judged that the client's bytes begin with; false while it is not whole."""
        data = bytes(self._buffer)
        end = hello_end(data)
        if not end:
            return False
        self._judge(read_hello(data[:end]))
        del self._buffer[:end]
        self._answer.clear()
        self._skip, self._phase = 0, _Phase.SENT
        return True

    def _step(self) -> bool:
        """Walk over a record behind a hello: early data may stand there, and what clients send for old middleboxes."""
        size = min(self._skip, len(self._buffer))
        del self._buffer[:size]
        self._skip -= size
        if self._skip or len(self._buffer) < _HEAD:
            return False
        kind = self._buffer[0]
        if kind == _HANDSHAKE:
            if self._phase is _Phase.SENT:
                raise BadHello("something follows the TLS hello before its answer")
            self._phase = _Phase.HELLO
        elif kind in (_CHANGE, _ALERT, _DATA):
            self._skip = _HEAD + int.from_bytes(self._buffer[3:_HEAD])
        else:
            raise BadHello("something that is no TLS follows the TLS hello")
        return True
