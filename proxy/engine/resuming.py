"""TLS sessions of upstreams, for later connections of the same sandbox under the same policy to the same end."""

import time

from mitmproxy.connection import Client, Server
from OpenSSL import SSL

from proxy import limits
from proxy.engine.state import note_ticket, services_of, session_of, ticket_of
from proxy.fastlane.pool import Use
from proxy.fastlane.tls import Ticket


def resume(client: Client, server: Server, tls: SSL.Connection) -> None:
    """Have a connection, before its handshake, resume a session if there is one."""
    ticket = services_of(client).tickets.take(use) if (use := use_of(client, server)) else None
    note_ticket(server, ticket)
    if ticket is not None:
        tls.set_session(ticket.session)


def keep(client: Client, server: Server, tls: SSL.Connection) -> None:
    """Keep the session of a connection that is over, for as long as its certificate holds that was verified."""
    use, session = use_of(client, server), tls.get_session()
    if use is None or session is None:
        return
    # To OpenSSL a connection that ends without one is broken, and its session with it. RFC 5246 section 7.2.1 is not so
    # strict any more.
    tls.set_shutdown(tls.get_shutdown() | SSL.SENT_SHUTDOWN)
    services_of(client).tickets.put(use, Ticket(session, _until(server, tls)))


def use_of(client: Client, server: Server) -> Use | None:
    """What a session may be resumed for: a connection carries whatever credentials the requests of its client have."""
    session = session_of(client)
    if session.sandbox is None or server.address is None:
        return None
    owner = session.sandbox.name if session.bound is None else session.bound.number
    return Use(owner, session.sandbox.policy.digest, None, "https", *server.address)


def _until(server: Server, tls: SSL.Connection) -> float:
    """When what was verified must be verified again (`time.monotonic`); that is not put off by resuming."""
    offered = ticket_of(server)
    if offered is not None and SSL._lib.SSL_session_reused(tls._ssl):  # type: ignore[attr-defined]
        return offered.until
    certificate = tls.get_peer_certificate(as_cryptography=True)
    verified_at = server.timestamp_tls_setup
    if certificate is None or verified_at is None:
        return 0.0
    ends = min(verified_at + limits.TICKET_TIME, certificate.not_valid_after_utc.timestamp())
    return time.monotonic() + ends - time.time()
