"""One TLS connection over a socket that does not block: as a client, through a proxy or direct, and as a server."""

import socket
import ssl
from contextlib import suppress

from benchmarks.wire.loop import READ, WRITE, Loop, Task


class Lost(Exception):
    """The peer closed, or what it said is not what was asked for."""


class Connection:
    """A socket with its loop. `tls` is None until the handshake."""

    def __init__(self, loop: Loop, raw: socket.socket) -> None:
        self.loop = loop
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = raw
        self.number = raw.fileno()

    @property
    def protocol(self) -> str | None:
        """What ALPN chose."""
        return self._socket.selected_alpn_protocol() if isinstance(self._socket, ssl.SSLSocket) else None

    def handshake(self, context: ssl.SSLContext, name: str | None) -> Task[None]:
        """As the client of the server `name`, or as a server."""
        self._socket = context.wrap_socket(
            self._socket, server_side=name is None, server_hostname=name, do_handshake_on_connect=False
        )
        while True:
            try:
                self._socket.do_handshake()
            except ssl.SSLWantReadError:
                yield self.number, READ
            except ssl.SSLWantWriteError:
                yield self.number, WRITE
            else:
                return

    def send(self, data: bytes | memoryview) -> Task[None]:
        """All of it."""
        while True:
            try:
                sent = self._socket.send(data)
            except (ssl.SSLWantWriteError, BlockingIOError):
                yield self.number, WRITE
            except ssl.SSLWantReadError:
                yield self.number, READ
            else:
                if sent == len(data):
                    return
                data = memoryview(data)[sent:]

    def receive(self) -> Task[bytes]:
        """Some bytes, or b"" when the peer has ended."""
        size = yield from self.skip()
        return bytes(self.loop.view[:size])

    def skip(self) -> Task[int]:
        """As `receive`, but only how many."""
        while True:
            try:
                return self._socket.recv_into(self.loop.view)
            except (ssl.SSLWantReadError, BlockingIOError):
                yield self.number, READ
            except ssl.SSLWantWriteError:
                yield self.number, WRITE
            except (ssl.SSLEOFError, ConnectionResetError):
                return 0

    def next(self) -> Task[bytes]:
        """As `receive`, where nothing can be there yet."""
        yield self.number, READ
        return (yield from self.receive())

    def close(self) -> None:
        """Say goodbye, and wait for nothing."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self._socket.unwrap()
        self.loop.forget(self.number)
        self._socket.close()
