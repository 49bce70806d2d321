"""One connection of a client, through the proxy or direct."""

import socket
import ssl
from urllib.parse import urlsplit

from benchmarks.load.job import Job, Target
from benchmarks.wire import http1
from benchmarks.wire.connection import Connection, Lost
from benchmarks.wire.loop import WRITE, Loop, Task


def connected(loop: Loop, target: Target, context: ssl.SSLContext, host: str = "") -> Task[Connection]:
    """TCP, CONNECT if there is a proxy, and a full TLS handshake."""
    host = host or target.host
    raw = socket.socket()
    raw.setblocking(False)
    raw.connect_ex(target.proxy or ("127.0.0.1", target.port))
    yield raw.fileno(), WRITE
    if error := raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "the proxy does not accept")
    connection = Connection(loop, raw)
    if target.plain:
        return connection
    if target.proxy:
        authority = f"{host}:{target.port}"
        yield from connection.send(
            f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{target.connect}\r\n".encode()
        )
        head = yield from http1.read_head(connection)
        if head is None or head.status != 200:
            raise Lost(f"CONNECT {authority}: {head and head.text!r}")
    yield from connection.handshake(context, host)
    return connection


def request(job: Job, path: str = "", host: str = "", body: int | None = None) -> bytes:
    """The head that asks for it. A path that is a URL is for a proxy itself, which is also told who asks."""
    path = path or job.path
    authority = urlsplit(path).netloc or f"{host or job.target.host}:{job.target.port}"
    headers = job.target.headers + (job.target.connect if job.target.plain else "")
    size = job.body if body is None else body
    method, length = ("POST", f"Content-Length: {size}\r\nContent-Type: application/json\r\n") if size else ("GET", "")
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: bench\r\nAccept: */*\r\n{length}{headers}\r\n"
    ).encode()


_BLOCK = b'{"a": "' + b"x" * 65536


def send_body(connection: Connection, size: int) -> Task[None]:
    """So many bytes."""
    while size > 0:
        yield from connection.send(_BLOCK[: min(size, 65536)])
        size -= 65536
