"""Secrets: each is in the one place that it is for, whatever an upstream, a client or a resolver does."""

import base64

from tests.boundary.case import (
    GOOD_FAKE,
    OTHER_FAKE,
    Anew,
    Case,
    Connect,
    Expect,
    Read,
    Send,
    Tls,
    Wanted,
    inside,
    plainly,
    request,
)
from tests.boundary.scenery import OWN, PUBLIC

_HOST = "good.example"
_ECHOES = {
    "echo": "in the body",
    "echo-header": "in a header",
    "echo-base64": "in base64, behind a user name",
    "echo-hex": "in hexadecimal",
    "echo-percent": "percent-encoded",
    "echo-json": "JSON-escaped",
    "echo-gzip": "compressed, though it was not asked to",
    "echo-gzip-name": "as the name of the file in the head of a compressed answer",
    "echo-split": "one byte in a chunk",
    "echo-slow": "in pieces, with time between them",
    "echo-trailer": "in a trailer",
    "echo-flood": "after a flood of almost-secrets",
    "echo-reason": "in the reason phrase",
}


def _sends(id_: str, threat: str, host: str, line: str, *origins: str, target: str = "/") -> Case:
    more = f"{line}\r\n" if line else ""
    return Case(f"credentials-{id_}", threat, inside(host, request(host, target, more=more)), origins)


def _unverified(name: str, threat: str) -> Case:
    host = f"{name}.example"
    return Case(
        f"credentials-{name}",
        f"an upstream whose certificate is {threat} gets a request",
        inside(host, request(host)),
        ("m12.wrong-cert", "f4.34"),
        Expect(asked=(host,), dialled=(f"{PUBLIC[host]}:443",)),
        kept="stock mitmproxy verifies too; one option (ssl_insecure) turns it off",
    )


_MALFORMED = "logged-malformed-0123456789"
SHORTENED = (
    "mitmdump writes it with another option alone (flow_detail, proxy_debug); a log that holds it is the known mistake"
)
_CODED = base64.urlsafe_b64encode(OWN.encode()).decode().rstrip("=")
_BASIC = "Authorization: Basic " + base64.b64encode(f"x:{OWN}".encode()).decode()

CASES = (
    *(
        Case(
            f"credentials-{path}",
            f"an upstream hands the credential back: {where}",
            inside(_HOST, request(_HOST, f"/{path}")),
            ("m12.echo", "f4.29", "f4.25"),
            Expect("answered", (Wanted(_HOST, f"/{path}", secret=True),)),
        )
        for path, where in _ECHOES.items()
    ),
    Case(
        "credentials-echo-stored",
        "an upstream keeps the credential, and hands it back to another request on another connection",
        (*inside(_HOST, request(_HOST, "/store")), Anew(), *inside(_HOST, request(_HOST, "/stored"))),
        ("m12.echo", "f4.29"),
        Expect("answered", (Wanted(_HOST, "/store", secret=True), Wanted(_HOST, "/stored", secret=True))),
    ),
    Case(
        "credentials-codings",
        "an upstream hands the credential back in two codings, one inside the other, where nothing finds it",
        inside(_HOST, request(_HOST, "/echo-codings")),
        ("m12.echo", "f4.29"),
        Expect("refused", (Wanted(_HOST, "/echo-codings", secret=True),)),
    ),
    Case(
        "credentials-echo-error",
        "an answer that cannot be read is quoted, with the credential, to the client or in a log",
        inside(_HOST, request(_HOST, "/echo-error")),
        ("m12.secret-absent", "f4.31"),
        Expect("refused", (Wanted(_HOST, "/echo-error", secret=True),)),
    ),
    Case(
        "credentials-echo-gzip-asked",
        "the same as a compressed answer that was asked for",
        inside(_HOST, request(_HOST, "/echo-gzip", more="Accept-Encoding: gzip, br, zstd\r\n")),
        ("m12.echo", "f4.29"),
        Expect("answered", (Wanted(_HOST, "/echo-gzip", secret=True),)),
    ),
    Case(
        "credentials-range",
        "ranges take an echoed secret apart",
        inside(_HOST, request(_HOST, "/range", more="Range: bytes=0-9\r\nIf-Range: x\r\n")),
        ("m12.echo",),
        Expect("answered", (Wanted(_HOST, "/range", secret=True, without=("range", "if-range")),)),
    ),
    _sends(
        "own-bearer",
        "the client's own key instead of the operator's: an allowed host as a drop",
        _HOST,
        f"Authorization: Bearer {OWN}",
        "f4.33",
    ),
    _sends("own-basic", "the client's own key in Basic", _HOST, _BASIC, "f4.33"),
    _sends(
        "own-twice",
        "the client's own key in a second Authorization",
        _HOST,
        f"Authorization: Bearer {GOOD_FAKE}\r\nAuthorization: Bearer {OWN}",
        "f4.33",
        "f4.16",
    ),
    _sends(
        "own-header", "the client's own key in another header that services read", _HOST, f"X-Api-Key: {OWN}", "f4.33"
    ),
    _sends("own-query", "the client's own key in the query", _HOST, "", "f4.33", target=f"/?access_token={OWN}"),
    _sends(
        "own-header-signs",
        "the client's own key in a header that some servers take for another",
        _HOST,
        f"x.api.key: {OWN}",
        "f4.33",
    ),
    _sends(
        "own-query-brackets",
        "the client's own key in a query key in brackets",
        _HOST,
        "",
        "f4.33",
        target=f"/?[access_token]={OWN}",
    ),
    _sends(
        "own-query-unicode",
        "the client's own key in a query key with a %u escape",
        _HOST,
        "",
        "f4.33",
        target=f"/?%u0061ccess_token={OWN}",
    ),
    _sends(
        "own-subprotocol",
        "the client's own key in a subprotocol, as Kubernetes takes it",
        _HOST,
        f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{_CODED}",
        "f4.33",
    ),
    _sends(
        "fake-elsewhere",
        "a placeholder is sent to a host without a credential",
        "free.example",
        f"Authorization: Bearer {GOOD_FAKE}",
        "f4.6",
        "f4.30",
    ),
    _sends(
        "fake-other-host",
        "a placeholder of one service at another one's host",
        _HOST,
        f"Authorization: Bearer {OTHER_FAKE}",
        "f4.6",
    ),
    _sends(
        "fake-elsewhere-header",
        "a placeholder in any header of another host",
        "free.example",
        f"X-Data: {GOOD_FAKE}",
        "f4.30",
    ),
    _sends(
        "fake-elsewhere-query",
        "a placeholder in the query of another host",
        "free.example",
        "",
        "f4.30",
        target=f"/?k={GOOD_FAKE}",
    ),
    Case(
        "credentials-fake-plain",
        "a placeholder over cleartext",
        plainly(
            f"GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\nAuthorization: Bearer {GOOD_FAKE}\r\n\r\n"
        ),
        ("f4.34",),
    ),
    Case(
        "credentials-plain",
        "a credential is added to a request over cleartext",
        plainly("GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n"),
        ("f4.34", "m12.plaintext"),
    ),
    Case(
        "credentials-connect-outer",
        "a placeholder in the head of CONNECT is filled in or sent on",
        (
            Connect(f"{_HOST}:443", headers=f"Authorization: Bearer {GOOD_FAKE}\r\n"),
            Tls(_HOST),
            Send(request(_HOST, "/outer")),
            Read(),
        ),
        ("f4.24",),
        Expect("answered", (Wanted(_HOST, "/outer", secret=True),)),
        kept="filled in by a peer (microsandbox); mitmproxy keeps the head to itself",
    ),
    Case(
        "credentials-fake",
        "a placeholder at its own host becomes the credential",
        inside(_HOST, request(_HOST, "/fake", more=f"Authorization: Bearer {GOOD_FAKE}\r\n")),
        ("f4.6",),
        Expect("answered", (Wanted(_HOST, "/fake", secret=True),)),
        kept="shows that what is allowed passes",
    ),
    Case(
        "credentials-per-host",
        "two hosts in one connection's life: each gets its own credential",
        (*inside("other.example", request("other.example", "/own")),),
        ("f4.6",),
        Expect("answered", (Wanted("other.example", "/own", secret=True),)),
        kept="shows that what is allowed passes",
    ),
    _unverified("wrong-name", "for another name"),
    _unverified("expired", "expired"),
    _unverified("self-signed", "signed by nobody known"),
    _unverified("plain-text", "missing, in an answer without TLS"),
    Case(
        "credentials-logged-query",
        "a secret in a query is in the log",
        inside("free.example", request("free.example", "/log?signature=logged-query-0123456789")),
        ("f4.35",),
        Expect(
            "answered",
            (Wanted("free.example", "/log?signature=logged-query-0123456789"),),
            unwritten=("logged-query-0123456789",),
        ),
        kept=SHORTENED,
    ),
    Case(
        "credentials-logged-denied",
        "a secret in the query of a refused request is in the log",
        inside("evil.example", request("evil.example", "/log?signature=logged-denied-0123456789")),
        ("f4.35",),
        Expect(unwritten=("logged-denied-0123456789",)),
    ),
    Case(
        "credentials-logged-malformed",
        "a key in a head that cannot be read is in the log",
        inside(
            _HOST,
            f"GET / HTTP/9.9 {_MALFORMED}\r\nHost: {_HOST}\r\nAuthorization: {_MALFORMED}\r\n\r\n",
        ),
        ("m12.secret-absent", "f4.31"),
        Expect(unwritten=(_MALFORMED,)),
    ),
    Case(
        "credentials-logged-cut",
        "a key in a head that never ends is in the log",
        (
            Send(
                "GET http://plain.example/ HTTP/1.1\r\n"
                "Proxy-Authorization: Basic logged-cut-0123456789\r\nHost: \0\r\n\r\n"
            ),
            Read(),
        ),
        ("m12.secret-absent",),
        Expect(unwritten=("logged-cut-0123456789",)),
        kept=SHORTENED,
    ),
)
