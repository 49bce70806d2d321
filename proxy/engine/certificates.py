"""TLS contexts: to clients with certificates of our CA, to upstreams with verification that cannot be switched off."""

import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509
from OpenSSL import SSL

from proxy.ca import CertificateAuthority, LeafIssuer
from proxy.policy.host import Host

_CACHED = 1024
_FRESH = 12 * 3600  # seconds; well inside a leaf's lifetime

_HTTP1 = b"http/1.1"
_HTTP2 = b"h2"

# No wildcard inside a label, and the common name never counts (RFC 9525).
_HOST_FLAGS: int = SSL._lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | SSL._lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT  # type: ignore[attr-defined]


class ClientContexts:
    """Server-side contexts by host, kept: a fresh one costs more than the handshake, and tickets live in it."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._issuer = LeafIssuer(authority)
        self._chain = authority.certificate
        self._kept: OrderedDict[tuple[str, bool], tuple[float, SSL.Context]] = OrderedDict()

    def connection(self, host: Host, *, http2: bool) -> SSL.Connection:
        """A connection that will present a certificate for the host, and offers HTTP/2 if `http2`."""
        connection = SSL.Connection(self._context(host, http2=http2))
        connection.set_accept_state()
        return connection

    def _context(self, host: Host, *, http2: bool) -> SSL.Context:
        key, now = (host.name, http2), time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < _FRESH:
            self._kept.move_to_end(key)
            return kept[1]
        context = self._make(self._issuer.issue(host), http2=http2)
        self._kept[key] = (now, context)
        self._kept.move_to_end(key)
        while len(self._kept) > _CACHED:
            self._kept.popitem(last=False)
        return context

    def _make(self, leaf: x509.Certificate, *, http2: bool) -> SSL.Context:
        context = _context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf)
        context.use_privatekey(self._issuer.key)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets hold what a client resumes, and no memory here
        offered = (_HTTP2, _HTTP1) if http2 else (_HTTP1,)
        context.set_alpn_select_callback(lambda _, options: _select(offered, options))
        return context


def _select(offered: tuple[bytes, ...], options: list[bytes]) -> Any:
    # A client that offers nothing known still speaks HTTP/1.1, or is refused by the next layer.
    return next((protocol for protocol in offered if protocol in options), SSL.NO_OVERLAPPING_PROTOCOLS)


class UpstreamContext:
    """The client-side context: certifi's roots, and the certificates that the operator names."""

    def __init__(self, extra: Iterable[Path] = ()) -> None:
        self._context = _context(SSL.TLS_CLIENT_METHOD)
        self._context.set_verify(SSL.VERIFY_PEER)
        self._context.load_verify_locations(certifi.where())
        for path in extra:
            self._context.load_verify_locations(str(path))

    def connection(self, host: Host, protocols: Iterable[bytes]) -> SSL.Connection:
        """A connection that fails unless the certificate verifies for the host."""
        connection = SSL.Connection(self._context)
        # pyOpenSSL has no call for host name verification; this is the one that OpenSSL documents.
        param = SSL._lib.SSL_get0_param(connection._ssl)  # type: ignore[attr-defined]
        SSL._lib.X509_VERIFY_PARAM_set_hostflags(param, _HOST_FLAGS)  # type: ignore[attr-defined]
        if host.address is None:
            name = host.name.encode("ascii")
            connection.set_tlsext_host_name(name)
            done = SSL._lib.X509_VERIFY_PARAM_set1_host(param, name, len(name))  # type: ignore[attr-defined]
        else:
            packed = host.address.packed
            done = SSL._lib.X509_VERIFY_PARAM_set1_ip(param, packed, len(packed))  # type: ignore[attr-defined]
        if done != 1:
            raise RuntimeError("the host to verify could not be set")
        connection.set_alpn_protos(list(protocols))
        connection.set_connect_state()
        return connection


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context
