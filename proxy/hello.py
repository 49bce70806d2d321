"""The TLS hello of a client: gathered in bounds, read strictly, judged by the gate. For every engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy import limits
from proxy.gate import Gate
from proxy.policy.host import Host, MalformedHost, parse_host
from proxy.session import Session

_HANDSHAKE = 0x16  # a content type, RFC 8446 section 5.1
_CLIENT_HELLO = 0x01  # RFC 8446 section 4
_SERVER_NAME = 0x0000  # RFC 6066
_ENCRYPTED_HELLO = frozenset((0xFE0D, 0xFFCE))  # RFC 9849 encrypted_client_hello, and the older encrypted_server_name
_RECORD_HEAD = 5


class Hello(Protocol):
    """What is asked of a ClientHello: its only server name, as it stands there, and its extensions by number."""

    @property
    def sni(self) -> str | None: ...
    @property
    def extensions(self) -> Sequence[tuple[int, bytes]]: ...


@dataclass(frozen=True, slots=True)
class ClientHello:
    """One that was read here. `sni` is None where there is no name, or not exactly one that can be read."""

    sni: str | None
    extensions: tuple[tuple[int, bytes], ...]


class BadHello(ValueError):
    """The bytes are not a ClientHello that can be read, or one that is too large or in too many pieces."""


def starts_handshake(data: bytes) -> bool:
    """Whether at least three bytes begin a TLS handshake of a known version."""
    return len(data) > 2 and data[0] == _HANDSHAKE and data[1] == 0x03 and data[2] <= 0x03


def looks_like_tls(data: bytes) -> bool:
    """Whether a peer could take the bytes for TLS: the content type alone decides, whatever version follows it."""
    return data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17")


def hello_complete(data: bytes) -> bool:
    """Whether the records hold a whole ClientHello. Raises `BadHello` for what never will, or is out of bounds."""
    return hello_end(data) > 0


def hello_end(data: bytes) -> int:
    """Where the ClientHello in the records ends; 0 while it is not whole. Raises `BadHello` as `hello_complete` does.

    Looks at lengths only, so that a hello in many small records is not parsed again with each of them.
    """
    handshake, offset, records = 0, 0, 0
    wanted: int | None = None
    head = b""
    while len(data) >= offset + _RECORD_HEAD:
        if data[offset] != _HANDSHAKE or data[offset + 1] != 0x03:
            raise BadHello("not a TLS handshake")
        records += 1
        if records > limits.MAX_HELLO_RECORDS:
            raise BadHello("the TLS hello is in too many pieces")
        size = int.from_bytes(data[offset + 3 : offset + 5])
        body = data[offset + _RECORD_HEAD : offset + _RECORD_HEAD + size]
        head = (head + body)[:4] if len(head) < 4 else head
        if head and head[0] != _CLIENT_HELLO:
            raise BadHello("not a ClientHello")
        if len(head) == 4:
            wanted = int.from_bytes(head[1:4]) + 4
        if wanted is not None and wanted > limits.MAX_HELLO:
            raise BadHello("the TLS hello is too large")
        if wanted is not None and handshake + size > wanted:
            raise BadHello("something follows the TLS hello in its record")
        handshake += len(body)
        if wanted is not None and handshake == wanted:
            return offset + _RECORD_HEAD + size
        offset += _RECORD_HEAD + size
    if len(data) > limits.MAX_HELLO:
        raise BadHello("the TLS hello is too large")
    return 0


def read_hello(data: bytes) -> ClientHello:
    """Parse a complete ClientHello. Raises `BadHello`, also for one that its peer could read in another way."""
    read = _Reader(_message(data))
    read.take(4 + 2 + 32)  # head of the message, version, random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods (RFC 8446 section 4.1.2)
        read.sized(width)
    extensions = []
    if not read.at_end:
        block = _Reader(read.sized(2))
        while not block.at_end:
            extensions.append((int.from_bytes(block.take(2)), block.sized(2)))
    if not read.at_end:
        raise BadHello("the TLS hello goes on after its extensions")
    names = [body for number, body in extensions if number == _SERVER_NAME]
    return ClientHello(_server_name(names[0]) if len(names) == 1 else None, tuple(extensions))


def _message(data: bytes) -> bytes:
    """The handshake message in the records (RFC 8446 section 5.1), which hold all of it."""
    end, at, parts = hello_end(data), 0, []
    if not end:
        raise BadHello("the TLS hello cannot be read")
    while at < end:
        size = int.from_bytes(data[at + 3 : at + _RECORD_HEAD])
        if not size or not starts_handshake(data[at:end]):
            raise BadHello("the TLS hello cannot be read")
        parts.append(data[at + _RECORD_HEAD : at + _RECORD_HEAD + size])
        at += _RECORD_HEAD + size
    return b"".join(parts)


def _server_name(body: bytes) -> str | None:
    """The name in the extension of RFC 6066 section 3, if it is one."""
    outer = _Reader(body)
    listed = _Reader(outer.sized(2))
    names = []
    while not listed.at_end:
        names.append((listed.take(1), listed.sized(2)))
    if not outer.at_end:
        raise BadHello("the TLS server name cannot be read")
    if len(names) != 1 or names[0][0] != b"\0" or not names[0][1].isascii():
        return None
    return names[0][1].decode("ascii")


class _Reader:
    """Takes fields off the front of some bytes. Raises `BadHello` where they are too short."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise BadHello("the TLS hello cannot be read")
        return self._data[start : self._at]

    def sized(self, width: int) -> bytes:
        """A field that begins with its length, in `width` bytes."""
        return self.take(int.from_bytes(self.take(width)))


def judge_hello(gate: Gate, session: Session, hello: Hello) -> None:
    """Let the gate compare the server name with the CONNECT target. Several extensions of that kind cannot be read."""
    extensions = [number for number, _ in hello.extensions]
    count = extensions.count(_SERVER_NAME)
    gate.server_name(
        session,
        hello.sni if count == 1 else None,
        present=count > 0,
        encrypted=any(number in _ENCRYPTED_HELLO for number in extensions),
    )


def client_name(session: Session, sni: str | None) -> Host:
    """The host that the certificate for the client names: what the client asked for, so that it can read a refusal."""
    if session.target is None:
        raise ValueError("no CONNECT, no name")
    try:
        return session.target.host if sni is None else parse_host(sni)
    except MalformedHost:
        return session.target.host
