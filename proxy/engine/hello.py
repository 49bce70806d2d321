"""The TLS hello of a client: gathered in bounds, read by mitmproxy's parser, judged by the gate."""

from mitmproxy.proxy.layers.tls import parse_client_hello
from mitmproxy.tls import ClientHello

from proxy import limits
from proxy.gate import Gate
from proxy.policy.host import Host, MalformedHost, parse_host
from proxy.session import Session

_SERVER_NAME = 0x0000  # RFC 6066
_ENCRYPTED_HELLO = frozenset((0xFE0D, 0xFFCE))  # RFC 9849 encrypted_client_hello, and the older encrypted_server_name
_RECORD_HEAD = 5


class BadHello(ValueError):
    """The bytes are not a ClientHello that can be read, or one that is too large or in too many pieces."""


def looks_like_tls(data: bytes) -> bool:
    """Whether a peer could take the bytes for TLS: the content type alone decides, whatever version follows it."""
    return data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17")


def hello_complete(data: bytes) -> bool:
    """Whether the records hold a whole ClientHello. Raises `BadHello` for what never will, or is out of bounds.

    Looks at lengths only, so that a hello in many small records is not parsed again with each of them.
    """
    if len(data) > limits.MAX_HELLO:
        raise BadHello("the TLS hello is too large")
    handshake, offset, records = 0, 0, 0
    wanted: int | None = None
    head = b""
    while len(data) >= offset + _RECORD_HEAD:
        if data[offset] != 0x16 or data[offset + 1] != 0x03:
            raise BadHello("not a TLS handshake")
        records += 1
        if records > limits.MAX_HELLO_RECORDS:
            raise BadHello("the TLS hello is in too many pieces")
        size = int.from_bytes(data[offset + 3 : offset + 5])
        body = data[offset + _RECORD_HEAD : offset + _RECORD_HEAD + size]
        head = (head + body)[:4] if len(head) < 4 else head
        handshake += len(body)
        if len(head) == 4:
            wanted = int.from_bytes(head[1:4]) + 4
        if wanted is not None and handshake >= wanted:
            return True
        offset += _RECORD_HEAD + size
    return False


def read_hello(data: bytes) -> ClientHello:
    """Parse a complete ClientHello. Raises `BadHello`."""
    try:
        hello = parse_client_hello(data)
    except ValueError:
        hello = None
    if hello is None:
        raise BadHello("the TLS hello cannot be read")
    return hello


def judge_hello(gate: Gate, session: Session, hello: ClientHello) -> None:
    """Let the gate compare the server name with the CONNECT target."""
    extensions = [number for number, _ in hello.extensions]
    gate.server_name(
        session,
        hello.sni,
        present=_SERVER_NAME in extensions,
        encrypted=any(number in _ENCRYPTED_HELLO for number in extensions),
    )


def client_name(session: Session, sni: str | None) -> Host:
    """The host that the certificate for the client names: what the client asked for, so that it can read a refusal."""
    assert session.target is not None
    try:
        return session.target.host if sni is None else parse_host(sni)
    except MalformedHost:
        return session.target.host
