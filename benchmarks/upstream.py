"""The upstream of every engine, a process of its own: `python -m benchmarks.upstream CERTIFICATE`.

It prints its ports as JSON: HTTP/1.1 twice (inspected, and behind tunnels), and HTTP/2. A request without the secret is
answered 401, so an engine that injects nothing fails the run.

    /small          1 kB                            /bytes/N        N bytes
    /event          one event that carries its time, then the end
    /stream/RATE    events without end, RATE a second over all streams in turn
    /model/N        N events of 160 bytes           POST anything   the body is read, then as for GET
"""

import gc
import json
import socket
import ssl
import sys
import time
from collections import deque
from contextlib import suppress
from random import Random

from benchmarks.wire import http1, http2
from benchmarks.wire.connection import Connection, Lost
from benchmarks.wire.loop import READ, Loop, Task

SECRET = "benchmark-key-0123456789"
# As packed files are: a search may get over one byte that is repeated faster, or slower, than over real data.
_BLOCK = Random(6).randbytes(65536)  # noqa: S311 - no secret
_SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
_DENIED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
_EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_H2_HEAD = http2.block([(b":status", b"200"), (b"content-type", b"text/plain"), (b"content-length", b"1024")])


class Server:
    """Listeners, and the streams that take turns."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._streams: deque[Connection] = deque()
        self._ticking = False

    def accept(self, listener: socket.socket, context: ssl.SSLContext) -> Task[None]:
        while True:
            yield listener.fileno(), READ
            with suppress(BlockingIOError):
                while True:
                    connection = Connection(self._loop, listener.accept()[0])
                    self._loop.spawn(self._serve(connection, context))

    def _serve(self, connection: Connection, context: ssl.SSLContext) -> Task[None]:
        kept = False
        try:
            yield from connection.handshake(context, None)
            if connection.protocol == "h2":
                yield from _http2(connection)
            else:
                kept = yield from self._http1(connection)
        except (OSError, Lost):
            pass
        finally:
            if not kept:
                connection.close()

    def _http1(self, connection: Connection) -> Task[bool]:
        """Whether the connection became a stream that others write to."""
        while (head := (yield from http1.read_head(connection))) is not None:
            yield from http1.read_body(connection, head)
            path = head.line.split(b" ", 2)[1]
            if SECRET.encode() not in head.text:
                yield from connection.send(_DENIED)
            elif path.startswith(b"/small"):
                yield from connection.send(_SMALL)
            elif path.startswith(b"/stream/"):
                yield from connection.send(_EVENTS + event())
                self._streams.append(connection)
                if not self._ticking:
                    self._ticking = True
                    self._loop.spawn(self._tick(1 / int(path[8:])))
                return True
            else:
                yield from _answer(connection, path)
        return False

    def _tick(self, pause: float) -> Task[None]:
        due = time.monotonic()
        while self._streams:
            due += pause
            yield due
            connection = self._streams[0]
            self._streams.rotate(-1)
            try:
                yield from connection.send(event())
            except OSError:
                self._streams.remove(connection)
                connection.close()
        self._ticking = False


def event() -> bytes:
    """One event in a chunk of its own: the monotonic clock in nanoseconds, and what makes it as long as a token's."""
    data = b'data: %020d {"type":"content_block_delta","delta":{"text":"%s"}}\n\n' % (time.monotonic_ns(), b"t" * 60)
    return b"%x\r\n%s\r\n" % (len(data), data)


def _answer(connection: Connection, path: bytes) -> Task[None]:
    if path.startswith(b"/bytes/"):
        left = int(path[7:])
        yield from connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n")
        yield from connection.send(b"Content-Length: %d\r\n\r\n" % left)
        while left > 0:
            yield from connection.send(_BLOCK[:left])
            left -= len(_BLOCK)
    elif path.startswith(b"/model/"):
        yield from connection.send(_EVENTS)
        for _ in range(int(path[7:])):
            yield from connection.send(event())
        yield from connection.send(http1.LAST)
    else:
        yield from connection.send(_EVENTS + event() + http1.LAST)


def _http2(connection: Connection) -> Task[None]:
    """Every request is answered with 1 kB, unread: reading its head would cost more than all the rest."""
    yield from connection.send(http2.greeting())
    data = b""
    while len(data) < len(http2.PREFACE):
        data += yield from connection.receive()
    data = data[len(http2.PREFACE) :]
    while True:
        place, out = 0, bytearray()
        for kind, flags, stream, payload, end in http2.frames(data):
            place = end
            out += http2.reply(kind, flags, payload)
            if kind in {http2.HEADERS, http2.DATA} and flags & http2.END_STREAM:
                out += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, _H2_HEAD)
                out += http2.frame(http2.DATA, http2.END_STREAM, stream, _SMALL[-1024:])
        data = data[place:]
        if out:
            yield from connection.send(bytes(out))
        piece = yield from connection.receive()
        if not piece:
            return
        data += piece


def listen(port: int = 0) -> list[socket.socket]:
    """A port of both loopback addresses, or of the one that there is."""
    first = socket.create_server(("127.0.0.1", port), backlog=4096)
    found = [first]
    with suppress(OSError):
        found.append(socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6, backlog=4096))
    for listener in found:
        listener.setblocking(False)
    return found


def main() -> None:
    """Serve until killed."""
    loop = Loop()
    server = Server(loop)
    ports = {}
    for name, protocol in (("inspected", "http/1.1"), ("tunnel", "http/1.1"), ("http2", "h2")):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        context.set_alpn_protocols([protocol])
        for listener in listen():
            ports[name] = listener.getsockname()[1]
            loop.spawn(server.accept(listener, context))
    print(json.dumps(ports), flush=True)
    gc.freeze()
    gc.disable()
    loop.run()


if __name__ == "__main__":
    main()
