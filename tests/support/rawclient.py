"""A client that sends exactly the bytes it is given and shows exactly what comes back."""

import json
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT = 10.0


class ClosedError(Exception):
    """The other side ended the connection where more was due."""


@dataclass
class Answer:
    """One response. `headers` as they came, `body` without its framing; `complete` is false if it was cut."""

    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = True

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


def authority_of(address: str) -> tuple[str, int]:
    """`127.0.0.1:8899` (or `http://127.0.0.1:8899`) as host and port."""
    host, _, port = address.rpartition("//")[2].rstrip("/").rpartition(":")
    return host.strip("[]"), int(port)


class RawClient:
    """A connection to `address` (`host:port`). Every wait ends after `timeout` seconds with `TimeoutError`."""

    def __init__(self, address: str | tuple[str, int], timeout: float = TIMEOUT) -> None:
        where = authority_of(address) if isinstance(address, str) else address
        self._socket: socket.socket = socket.create_connection(where, timeout)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close with a TCP reset instead of a goodbye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Say that nothing more will be sent, and stay to read (plain TCP only)."""
        self._socket.shutdown(socket.SHUT_WR)

    def connect(self, authority: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask for a tunnel to `host:port`; the answer is 200 if there is one now."""
        self.send(head("CONNECT", authority, {"Host": authority} | (headers or {})))
        return self.read(method="CONNECT")

    def tls(
        self, name: str | None, ca_file: Path | str | None = None, alpn: tuple[str, ...] = ("http/1.1",)
    ) -> ssl.SSLSocket:
        """Start TLS with `name` as SNI (none at all for None). With a CA file the certificate must verify for it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = ca_file is not None and name is not None
        context.verify_mode = ssl.CERT_REQUIRED if ca_file is not None else ssl.CERT_NONE
        if ca_file is not None:
            context.load_verify_locations(ca_file)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        if alpn:
            context.set_alpn_protocols(list(alpn))
        assert not self._buffer, "bytes came before TLS"
        wrapped = context.wrap_socket(self._socket, server_hostname=name)
        self._socket = wrapped
        return wrapped

    def request(
        self, method: str, target: str, host: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a well-formed request and read its whole answer."""
        length = {"Content-Length": str(len(body))} if body or method in ("POST", "PUT", "PATCH") else {}
        self.send(head(method, target, {"Host": host} | length | (headers or {})) + body)
        return self.read(method=method)

    def read(self, method: str = "GET") -> Answer:
        """Read one whole response to a request with this method; `ClosedError` if there is none."""
        answer = self.read_head()
        try:
            self._read_body(answer, method)
        except ClosedError:
            answer.complete = False
        return answer

    def read_head(self) -> Answer:
        """Read a status line and its headers, and leave the body."""
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, reason = (lines[0] + "  ").split(" ", 2)
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Answer(int(status), reason.strip(), version, pairs)

    def read_chunk(self) -> bytes:
        """Read the next chunk of a chunked body; empty at its end (trailers are left)."""
        size = int(self.read_until(b"\r\n").split(b";")[0], 16)
        data = self.read_exactly(size)
        if size:
            self.read_exactly(2)
        return data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._fill()
        end = self._buffer.index(mark) + len(mark)
        return self._take(end)

    def read_exactly(self, size: int) -> bytes:
        parts = [self._take(min(size, len(self._buffer)))]
        left = size - len(parts[0])
        while left:
            self._fill()
            parts.append(self._take(min(left, len(self._buffer))))
            left -= len(parts[-1])
        return b"".join(parts)

    def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        parts = []
        try:
            while True:
                parts.append(self._take(len(self._buffer)))
                self._fill()
        except ClosedError:
            return b"".join(parts)

    def closed(self) -> bool:
        """Whether the other side closes now, with nothing more to say. Waits until it does one or the other."""
        try:
            self._fill()
        except ClosedError:
            return not self._buffer
        return False

    def _read_body(self, answer: Answer, method: str) -> None:
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return
        if method == "CONNECT" and answer.status < 300:
            return
        if (answer.header("transfer-encoding") or "").lower() == "chunked":
            while part := self._append(answer, self.read_chunk()):
                del part
            while line := self.read_until(b"\r\n").decode("latin-1").strip():
                name, _, value = line.partition(":")
                answer.trailers.append((name, value.strip()))
        elif (length := answer.header("content-length")) is not None:
            self._read_sized(answer, int(length))
        else:
            answer.body = self.read_to_end()

    def _append(self, answer: Answer, data: bytes) -> bytes:
        answer.body += data
        return data

    def _read_sized(self, answer: Answer, size: int) -> None:
        parts: list[bytes] = []
        try:
            while size:
                if not self._buffer:
                    self._fill()
                parts.append(self._take(min(size, len(self._buffer))))
                size -= len(parts[-1])
        finally:
            answer.body = b"".join(parts)

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise ClosedError(str(error)) from error
        if not data:
            raise ClosedError("the other side closed the connection")
        self._buffer += data


def head(method: str, target: str, headers: dict[str, str] | list[tuple[str, str]]) -> bytes:
    """The bytes of a request head. Nothing is checked: a test may want it broken."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
