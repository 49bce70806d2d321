"""Contexts of our certificates: kept by host, and none of them grows with its clients."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from proxy import ca
from proxy.fastlane import tls
from proxy.fastlane.tls import LeafContexts, Tls
from proxy.policy.host import parse_host

HOST = parse_host("good.example")


def visit(contexts: LeafContexts, ca_file: Path) -> ssl.SSLContext:
    """A client of TLS 1.2 that takes no ticket comes and says goodbye; the context that it was served with."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=HOST.name)
    served = contexts.context(HOST)
    server = Tls(served, server_side=True)
    for _ in range(3):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if said := outgoing.read():
            server.feed(said)
        incoming.write(server.pending())
    assert server.established
    incoming.write(server.goodbye())
    with suppress(ssl.SSLWantReadError):
        client.unwrap()
    server.feed(outgoing.read())
    return served


def test_sessions_of_clients_without_tickets_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_SESSIONS", 3)
    authority = ca.create()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    contexts = LeafContexts(authority)
    served = [visit(contexts, tmp_path / "ca.pem") for _ in range(6)]
    assert served[0] is served[1] is served[2]
    assert served[2] is not served[3]
    assert served[3] is served[5]
    assert [each.session_stats()["number"] for each in (served[0], served[3])] == [3, 3]
