"""The proxy itself and its other sandboxes: not reachable, not selectable, not to be written to."""

import base64
import hmac
import json
import time

from tests.boundary.case import (
    GOOD_FAKE,
    OTHER_TOKEN,
    OTHER_TOKEN_FAKE,
    PROXY,
    TOKEN,
    Anew,
    Case,
    Connect,
    Expect,
    Read,
    Send,
    Step,
    Tls,
    Wanted,
    inside,
    plainly,
    request,
)

_HOST = "good.example"
PAGES = "mitmdump serves them; the naive addon happens to overwrite the answer, since their host is not on its list"
ESCAPED = "stock mitmproxy escapes it or does not log it; a peer did not"
_AUTH = f"Proxy-Authorization: {TOKEN}\r\n"
_INTERNAL = "outgate.internal"
NAMED = "the naive addon refuses what is not on its list; this is about a name that the proxy answers itself"
_ESC = "\x1b[31mforged"


def _known(headers: str, target: str = "/", more: str = "") -> tuple[Step, ...]:
    return (Connect(f"{_HOST}:443", headers=headers), Tls(_HOST), Send(request(_HOST, target, more=more)), Read())


def _forged(header: dict[str, str], key: bytes = b"") -> str:
    """Proxy-Authorization with a token of our own making: all of the right claims, and another signature."""

    def coded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    claims = {
        "sub": "mine",
        "pol": "main",
        "jti": "1",
        "iat": now,
        "exp": now + 3600,
        "iss": "outgate",
        "aud": "outgate",
    }
    text = ".".join(coded(json.dumps(each).encode()) for each in ({"typ": "outgate-sandbox+jwt"} | header, claims))
    signature = "" if header["alg"].lower() == "none" else coded(hmac.digest(key, text.encode(), "sha256"))
    return "Proxy-Authorization: Basic " + base64.b64encode(f"mine:{text}.{signature}".encode()).decode() + "\r\n"


def _asked(path: str = "/", method: str = "GET", *, host: str = _INTERNAL, more: str = "", body: str = "") -> str:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{length}{more}\r\n{body}"


def _here(id_: str, threat: str, data: str) -> Case:
    """Something for outgate.internal over http, of which nobody else may hear."""
    kept = "" if id_ == "host" else NAMED  # the naive addon believes Host
    return Case(f"control-internal-{id_}", threat, plainly(data), ("f4.19",), Expect("either"), kept=kept)


def _strange(id_: str, threat: str, headers: str, *origins: str) -> Case:
    return Case(f"control-{id_}", threat, _known(headers), origins, setup="shared")


CASES = (
    Case(
        "control-self",
        "the proxy is reached through itself",
        plainly(f"GET http://{PROXY}/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"),
        ("f4.19",),
        kept="stock mitmproxy refuses its own literal address; CVE-2025-23217 came in by another spelling",
    ),
    Case(
        "control-self-connect",
        "the proxy is reached through itself in a tunnel",
        (Connect(PROXY), Send(f"GET http://evil.example/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"), Read()),
        ("f4.19",),
        kept="stock mitmproxy refuses its own literal address; CVE-2025-23217 came in by another spelling",
    ),
    Case(
        "control-self-name",
        "the proxy is reached through itself by another loopback address",
        (
            Connect("127.0.0.2:{proxyport}"),
            Send("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            Read(),
        ),
        ("f4.19",),
    ),
    Case(
        "control-ui",
        "the pages of the interception library are served",
        plainly("GET http://mitm.it/ HTTP/1.1\r\nHost: mitm.it\r\n\r\n"),
        ("f4.19", "f4.32"),
        kept=PAGES,
    ),
    Case(
        "control-ui-cert",
        "the certificate page of the library is served",
        plainly("GET http://mitm.it/cert/pem HTTP/1.1\r\nHost: mitm.it\r\n\r\n"),
        ("f4.19", "f4.32"),
        kept=PAGES,
    ),
    Case(
        "control-web",
        "the library's web interface is reached through the proxy",
        plainly("GET http://127.0.0.1:8081/ HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n\r\n"),
        ("f4.19",),
        kept="CVE-2025-23217; the naive addon refuses by the address in Host",
    ),
    *(
        Case(
            f"control-path-{name}",
            f"{method} {path} at the proxy's port answers or changes something",
            plainly(f"{method} {path} HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 0\r\n\r\n", method=method),
            ("f4.42", "f4.45"),
            kept="a control plane on the proxy's port is the known mistake; stock mitmproxy has none there",
        )
        for name, method, path in (
            ("reload", "POST", "/reload"),
            ("approve", "POST", "/approve"),
            ("metrics", "GET", "/metrics"),
            ("options", "OPTIONS", "*"),
        )
    ),
    Case(
        "control-log-host",
        "a name with control characters forges lines in a log or a terminal",
        (Connect(f"{_ESC}-host.example:443"),),
        ("f4.42",),
        Expect(unwritten=(f"{_ESC}-host",)),
        kept=ESCAPED,
    ),
    Case(
        "control-log-path",
        "a path with line breaks forges lines in a log",
        inside("evil.example", request("evil.example", "/%0d%0aforged-path%1b[31mforged-path")),
        ("f4.42",),
        Expect(unwritten=(f"{_ESC}-path", "\nforged-path")),
    ),
    Case(
        "control-log-line",
        "a request line with escape sequences forges lines in a log",
        plainly(f"GET http://{_ESC}-line/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("f4.42", "m12.malformed"),
        Expect(unwritten=(f"{_ESC}-line",)),
        kept=ESCAPED,
    ),
    Case(
        "control-html",
        "markup in a URL is markup in the proxy's page",
        plainly("GET http://evil.example/<script>alert(1)</script> HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        ("f4.42",),
        Expect(unsaid=("text/html",)),
        kept="a proxy that shows the URL in HTML is the known mistake; the naive page has no URL",
    ),
    *(
        _here(name, threat, data)
        for name, threat, data in (
            ("get", "what a sandbox asks of the proxy goes upstream", _asked()),
            (
                "key",
                "a key of the sandbox goes upstream with it",
                _asked(more=f"Authorization: Bearer {GOOD_FAKE}\r\n"),
            ),
            ("post", "a request for access goes upstream", _asked("/access", "POST", body="host=evil.example&why=w")),
            ("dot", "another spelling of the name leads elsewhere", _asked(host=f"{_INTERNAL}.")),
            ("upper", "the name in upper case leads elsewhere", _asked(host=_INTERNAL.upper())),
            ("port", "another port of the name leads elsewhere", _asked(host=f"{_INTERNAL}:8080")),
            ("below", "a name below it leads elsewhere", _asked(host=f"x.{_INTERNAL}")),
            ("user", "user information leads elsewhere", _asked(host=f"{_INTERNAL}@evil.example")),
            ("host", "Host leads elsewhere", f"GET http://{_INTERNAL}/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
            ("host-evil", "Host leads elsewhere", f"GET http://{_INTERNAL}/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            (
                "host-only",
                "its name in Host hides another URL",
                f"GET http://evil.example/ HTTP/1.1\r\nHost: {_INTERNAL}\r\n\r\n",
            ),
            (
                "host-only-allowed",
                "its name in Host hides an allowed URL from the policy",
                f"GET http://plain.example/ HTTP/1.1\r\nHost: {_INTERNAL}\r\n\r\n",
            ),
            ("origin", "its name in Host is enough", f"GET / HTTP/1.1\r\nHost: {_INTERNAL}\r\n\r\n"),
        )
    ),
    *(
        Case(f"control-internal-{name}", threat, probe, ("f4.19", "m12.four-way"), Expect("either"))
        for name, threat, probe in (
            ("tunnel", "a tunnel to the proxy's own name is dialled", inside(_INTERNAL, request(_INTERNAL))),
            ("tunnel-host", "a tunnel to it carries a request for another host", inside(_INTERNAL, request(_HOST))),
            (
                "tunnel-name",
                "a tunnel to it carries another server name",
                (Connect(f"{_INTERNAL}:443"), Tls(_HOST), Send(request(_HOST)), Read()),
            ),
            (
                "tunnel-url",
                "a tunnel to it carries a URL of another host",
                inside(_INTERNAL, f"GET https://evil.example/ HTTP/1.1\r\nHost: {_INTERNAL}\r\n\r\n"),
            ),
            (
                "tunnel-raw",
                "a tunnel to it carries bytes of no protocol",
                (Connect(f"{_INTERNAL}:22"), Send("SSH-2.0-OpenSSH_9.6\r\n\r\n"), Read()),
            ),
            ("in-tunnel", "a tunnel to an allowed host carries a request for it", inside(_HOST, request(_INTERNAL))),
        )
    ),
    Case(
        "control-internal-access",
        "a request for access is enough to get it",
        (
            *plainly(_asked("/access", "POST", body="host=evil.example&why=I+need+it")),
            Anew(),
            *inside("evil.example", request("evil.example")),
        ),
        ("f4.42",),
    ),
    Case(
        "control-internal-then",
        "what is answered by the proxy itself is a way in for what follows on the connection",
        plainly(_asked(), "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        ("f4.37",),
        kept=NAMED,
    ),
    Case(
        "control-internal-neighbour",
        "a sandbox is told what another one asked for and was refused",
        (
            *plainly(
                f"HEAD http://asked-next-door.example/ HTTP/1.1\r\nHost: asked-next-door.example\r\n"
                f"Proxy-Authorization: {OTHER_TOKEN}\r\n\r\n",
                method="HEAD",
            ),
            *(
                step
                for path in ("/", "/policy", "/refusals", "/limits", "/access", "/refusals?sandbox=neighbour")
                for step in (Anew(), *plainly(_asked(path, more=_AUTH + "X-Outgate-Sandbox: neighbour\r\n")))
            ),
        ),
        ("f4.43", "f4.41"),
        Expect("either", unsaid=("asked-next-door", "neighbour")),
        setup="shared",
        kept=NAMED,
    ),
    Case(
        "control-internal-no-token",
        "a neighbour without a token is told of a policy",
        plainly(_asked("/policy")),
        ("f4.41",),
        Expect(unsaid=("good.example",)),
        setup="shared",
        kept=NAMED,
    ),
    _strange("no-token", "a neighbour uses a proxy that listens for several sandboxes", "", "f4.41"),
    _strange("wrong-token", "a token that nobody signed", "Proxy-Authorization: Basic bWluZTp4LnkueA==\r\n", "f4.41"),
    _strange(
        "user-agent",
        "identity from a header that the sandbox sets",
        "User-Agent: mine\r\nX-Forwarded-For: 127.0.0.1\r\nX-Outgate-Sandbox: mine\r\n",
        "f4.43",
    ),
    _strange("two-tokens", "two tokens, one good", f"{_AUTH}Proxy-Authorization: Basic eDp5\r\n", "f4.43"),
    _strange("token-bearer", "a token in another scheme", "Proxy-Authorization: Bearer x.y.z\r\n", "f4.41"),
    *(
        _strange(f"token-forged-{name}", f"a token {what}", _forged(header, key), "f4.41")
        for name, what, header, key in (
            ("none", "without a signature", {"alg": "none"}, b""),
            ("case", "without a signature, spelled in another case", {"alg": "nOnE"}, b""),
            ("empty", "that is signed with an empty key", {"alg": "HS256"}, b""),
            ("own", "that brings its own key", {"alg": "HS256", "jwk": '{"kty": "oct", "k": "eA"}'}, b"x"),
            ("path", "that names a file as its key", {"alg": "HS256", "kid": "../../../../dev/null"}, b""),
        )
    ),
    Case(
        "control-no-token-plain",
        "http without a token",
        plainly("GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
        ("f4.41",),
        setup="shared",
    ),
    Case(
        "control-token",
        "a sandbox with its token",
        _known(_AUTH, "/mine"),
        ("f4.41",),
        Expect("answered", (Wanted(_HOST, "/mine", secret=True, without=("proxy-authorization",)),)),
        setup="shared",
        kept="shows that what is allowed passes",
    ),
    Case(
        "control-token-inner",
        "a token inside the tunnel goes upstream",
        _known(_AUTH, "/inner", _AUTH),
        ("m12.hop",),
        Expect("answered", (Wanted(_HOST, "/inner", secret=True, without=("proxy-authorization",)),)),
        setup="shared",
    ),
    Case(
        "control-token-plain",
        "a token goes upstream over http",
        plainly(f"GET http://plain.example/mine HTTP/1.1\r\nHost: plain.example\r\n{_AUTH}\r\n"),
        ("m12.hop",),
        Expect("answered", (Wanted("plain.example", "/mine", plain=True, without=("proxy-authorization",)),)),
        setup="shared",
    ),
    Case(
        "control-neighbour-fake",
        "the placeholder of another sandbox",
        _known(_AUTH, "/", f"Authorization: Bearer {OTHER_TOKEN_FAKE}\r\n"),
        ("f4.43", "f4.6"),
        setup="shared",
    ),
)
