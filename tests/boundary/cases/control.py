"""The proxy itself and its other sandboxes: not reachable, not selectable, not to be written to."""

from tests.boundary.case import (
    OTHER_TOKEN_FAKE,
    PROXY,
    TOKEN,
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
_ESC = "\x1b[31mforged"


def _known(headers: str, target: str = "/", more: str = "") -> tuple[Step, ...]:
    return (Connect(f"{_HOST}:443", headers=headers), Tls(_HOST), Send(request(_HOST, target, more=more)), Read())


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
