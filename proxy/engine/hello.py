"""The TLS hello of a client, judged by the gate. Names are read by mitmproxy's parser, compared by ours."""

from mitmproxy.tls import ClientHello

from proxy.gate import Gate
from proxy.policy.host import Host, MalformedHost, parse_host
from proxy.session import Session

_SERVER_NAME = 0x0000  # RFC 6066
_ENCRYPTED_HELLO = frozenset((0xFE0D, 0xFFCE))  # RFC 9849 encrypted_client_hello, and the older encrypted_server_name


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
