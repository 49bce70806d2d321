"""TLS without sockets: bytes of the wire in, plain bytes out, and back. The contexts of both sides.

Python's `ssl` over memory, so that the hello is judged before a handshake begins, and nothing is read ahead of what
may be held.
"""

import contextlib
import os
import ssl
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import certifi
from cryptography.hazmat.primitives import serialization

from proxy.ca import CertificateAuthority, LeafIssuer
from proxy.policy.host import Host

_RECORD = 16384  # what one TLS record holds (RFC 8446 section 5.1)
_CACHED = 1024
_FRESH = 12 * 3600  # seconds; well inside a leaf's lifetime
# Of clients that take no tickets, kept by one context: the module `ssl` would let it keep 20,000, some 1 KB each.
_SESSIONS = 64
# Each look at a session loses some 6 KB for ever in these versions (github.com/python/cpython/issues/116810).
_LOSES = sys.version_info < (3, 12, 8) or (3, 13) <= sys.version_info < (3, 13, 1)
_MOST_LOST = 1000  # sessions; there are no tickets after these
_lost = count()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A TLS session to resume until then (`time.monotonic`): the certificate is not verified again. Each lane's TLS has
    sessions of its own kind.
    """

    session: Any
    until: float


class Tls:
    """One TLS connection. `ended` says that the peer said goodbye: what it sent is whole."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        name: str | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self._wire_in, self._wire_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._wire_in,
            self._wire_out,
            server_side=server_side,
            server_hostname=name,
            session=None if ticket is None else ticket.session,
        )
        self._ticket = ticket
        self._established_at = 0.0
        self.established = False
        self.ended = False

    @property
    def version(self) -> str | None:
        """As the audit event names it: `TLSv1.3`."""
        return self._object.version()

    def ticket(self, lasting: float) -> Ticket | None:
        """What a later connection to the same peer can resume: for so many seconds after the handshake in which the
        certificate was verified, and no longer than that was good for.
        """
        if _LOSES and next(_lost) >= _MOST_LOST:
            return None
        session = self._object.session
        if session is None or not session.has_ticket:
            return None
        if self._ticket is not None and self._object.session_reused:
            return Ticket(session, self._ticket.until)
        certificate = self._object.getpeercert() or {}
        left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
        return Ticket(session, min(self._established_at + lasting, time.monotonic() + left))

    def start(self) -> None:
        """Begin the handshake of a client; what it says is then in `pending`. Raises `ssl.SSLError`."""
        self._shake()

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take bytes of the wire; the plain bytes that they hold. Raises `ssl.SSLError`."""
        self._wire_in.write(data)
        if not self.established and not self._shake():
            return b""
        return self._read()

    def seal(self, data: bytes) -> bytes:
        """The wire's bytes for plain ones. Raises `ssl.SSLError`."""
        self._object.write(data)
        return self._wire_out.read()

    def pending(self) -> bytes:
        """What the handshake, or the peer's wishes, made for the wire."""
        return self._wire_out.read() if self._wire_out.pending else b""

    def goodbye(self) -> bytes:
        """A close_notify, for the end of what was sent."""
        if self.established:
            with contextlib.suppress(ssl.SSLError):  # it waits for the peer's, which nobody needs
                self._object.unwrap()
        return self.pending()

    def _shake(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        self._established_at = time.monotonic()
        return True

    def _read(self) -> bytes:
        pieces = []
        try:
            while True:
                piece = self._object.read(_RECORD)  # all of a record: nothing of one is left inside
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
                if not self._wire_in.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class LeafContexts:
    """Server-side contexts by host, kept: a fresh one costs more than the handshake, and tickets live in it."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._issuer = LeafIssuer(authority)
        # Who trusts a root has it, and OpenSSL takes long to read one (RFC 8446 section 4.4.2).
        certificate = authority.certificate
        self._chain = b"" if certificate.issuer == certificate.subject else authority.pem
        self._key = self._issuer.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._kept: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()

    def context(self, host: Host) -> ssl.SSLContext:
        """A context that presents a certificate for the host, and speaks HTTP/1.1."""
        now = time.monotonic()
        kept = self._kept.get(host.name)
        if kept is not None and now - kept[0] < _FRESH and kept[1].session_stats()["number"] < _SESSIONS:
            self._kept.move_to_end(host.name)
            return kept[1]
        context = self._make(host)
        self._kept[host.name] = (now, context)
        self._kept.move_to_end(host.name)
        while len(self._kept) > _CACHED:
            self._kept.popitem(last=False)
        return context

    def _make(self, host: Host) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        context.set_alpn_protocols(["http/1.1"])
        leaf = self._issuer.issue(host).public_bytes(serialization.Encoding.PEM)
        # The module loads from files alone; this one is in memory, and nobody else has it.
        fd = os.memfd_create("leaf")
        try:
            os.write(fd, self._key + leaf + self._chain)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return context


def upstream_context(extra: Iterable[Path] = ()) -> ssl.SSLContext:
    """The client-side context: certifi's roots, and those that the operator names. Verification stays on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.hostname_checks_common_name = False  # RFC 9525
    context.load_verify_locations(certifi.where())
    for path in extra:
        context.load_verify_locations(str(path))
    context.set_alpn_protocols(["http/1.1"])
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
