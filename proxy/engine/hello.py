"""The TLS hello of a client: gathered in bounds, read by mitmproxy's parser, judged by the gate."""

from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy.layers.tls import get_client_hello, parse_client_hello
from mitmproxy.tls import ClientHello

from proxy import limits
from proxy.gate import Gate
from proxy.policy.host import Host, MalformedHost, parse_host
from proxy.session import Session

_CLIENT_HELLO = 0x01  # RFC 8446 section 4
_SERVER_NAME = 0x0000  # RFC 6066
_ENCRYPTED_HELLO = frozenset((0xFE0D, 0xFFCE))  # RFC 9849 encrypted_client_hello, and the older encrypted_server_name
_RECORD_HEAD = 5


class BadHello(ValueError):
    """The bytes are not a ClientHello that can be read, or one that is too large or in too many pieces."""


def starts_handshake(data: bytes) -> bool:
    """Whether at least three bytes begin a TLS handshake of a known version."""
    return starts_like_tls_record(data)


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
        if data[offset] != 0x16 or data[offset + 1] != 0x03:
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
    try:
        hello, message = parse_client_hello(data), get_client_hello(data)
    except ValueError:
        hello = message = None
    if hello is None or message is None:
        raise BadHello("the TLS hello cannot be read")
    if not _ends_with_extensions(message):
        raise BadHello("the TLS hello goes on after its extensions")
    return hello


def _ends_with_extensions(message: bytes) -> bool:
    """Whether nothing follows the extensions, where mitmproxy's parser stops (RFC 8446 section 4.1.2)."""
    at = 4 + 2 + 32  # head of the message, version, random
    for width in (1, 2, 1, 2):  # session id, cipher suites, compression methods, extensions
        if width == 2 and at == len(message):
            return True  # without extensions
        at += width + int.from_bytes(message[at : at + width])
    return at == len(message)


def judge_hello(gate: Gate, session: Session, hello: ClientHello) -> None:
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
    assert session.target is not None
    try:
        return session.target.host if sni is None else parse_host(sni)
    except MalformedHost:
        return session.target.host
