"""HTTP/2 heads that mislead: pseudo-headers, and what they become on the way to an HTTP/1 upstream."""

from tests.boundary.case import H2, Case, Connect, Expect, Read, Send, Tls, Wanted, request

type Fields = tuple[tuple[str, str], ...]

STRICT = "the HTTP/2 library refuses it; kept for subjects with another one"
_HEAD = "m12.h2"


def fields(
    path: str = "/", *more: tuple[str, str], method: str = "GET", host: str = "h2.example", scheme: str = "https"
) -> Fields:
    return ((":method", method), (":scheme", scheme), (":authority", host), (":path", path), *more)


def _over(*requests: H2) -> tuple[Connect | Tls | H2, ...]:
    return (Connect("h2.example:443"), Tls("h2.example", ("h2",)), *requests)


_REFUSED: dict[str, tuple[str, Fields]] = {
    "authority": ("another authority", fields(host="evil.example")),
    "authority-port": ("another port", fields(host="h2.example:8443")),
    "authority-user": ("user information in the authority", fields(host="h2.example@evil.example")),
    "authority-allowed": ("the authority of another allowed host", fields(host="good.example")),
    "host-beside": ("a Host beside the authority", fields("/", ("host", "evil.example"))),
    "host-alone": (
        "a Host instead of the authority",
        ((":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "evil.example")),
    ),
    "no-authority": ("no authority", ((":method", "GET"), (":scheme", "https"), (":path", "/"))),
    "scheme": ("scheme http on a TLS connection", fields(scheme="http")),
    "path-space": ("a space in the path", fields("/x /a")),
    "path-request": ("a request in the path", fields("/x HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /y")),
    "path-absolute": ("a URL as path", fields("https://evil.example/")),
    "path-relative": ("a path without a slash", fields("evil")),
    "path-empty": ("an empty path", fields("")),
    "method-space": ("a space in the method", fields(method="GET /y")),
    "method-lower": ("a method in lower case", fields(method="get")),
    "trace": ("TRACE", fields(method="TRACE")),
    "connect": ("CONNECT to another host", ((":method", "CONNECT"), (":authority", "evil.example:443"))),
    "connect-extended": ("an extended CONNECT", (*fields(method="CONNECT"), (":protocol", "websocket"))),
    "value-crlf": ("a line break in a value", fields("/", ("x", "a\r\nhost: evil.example"))),
    "value-cr": ("a bare CR in a value", fields("/", ("x", "a\rb"))),
    "value-nul": ("NUL in a value", fields("/", ("x", "a\0b"))),
    "name-upper": ("an upper-case name", fields("/", ("X-Upper", "a"))),
    "name-crlf": ("a line break in a name", fields("/", ("x\r\nhost", "evil.example"))),
    "hop-te": ("Transfer-Encoding", fields("/", ("transfer-encoding", "chunked"))),
    "hop-connection": ("Connection", fields("/", ("connection", "authorization"))),
    "two-lengths": ("two lengths", fields("/", ("content-length", "1"), ("content-length", "2"))),
    "pseudo-unknown": ("an unknown pseudo-header", fields("/", (":evil", "x"))),
    "pseudo-twice": ("a pseudo-header twice", fields("/", (":path", "/other"))),
    "pseudo-late": (
        "a pseudo-header after a field",
        ((":method", "GET"), (":scheme", "https"), ("x", "y"), (":authority", "h2.example"), (":path", "/")),
    ),
}

CASES = (
    Case(
        "http2-control",
        "an allowed request over HTTP/2",
        _over(H2(fields("/control"))),
        (_HEAD,),
        Expect("answered", (Wanted("h2.example", "/control", secret=True),)),
    ),
    *(Case(f"http2-{name}", threat, _over(H2(head)), (_HEAD,)) for name, (threat, head) in _REFUSED.items()),
    Case(
        "http2-length-short",
        "a body shorter than its length",
        _over(H2(fields("/short", ("content-length", "5"), method="POST"))),
        (_HEAD, "f4.22"),
    ),
    Case(
        "http2-length-long",
        "a body longer than its length: the rest is another request",
        _over(H2(fields("/long", ("content-length", "2"), method="POST"), b"abGET /smuggled HTTP/1.1\r\n\r\n")),
        (_HEAD, "f4.22"),
        Expect("refused", possible=(Wanted("h2.example", "/long", "POST", secret=True),)),
        kept=STRICT,
    ),
    Case(
        "http2-trailers",
        "trailers carry what the head may not",
        _over(H2(fields("/trailed", method="POST"), b"ab", (("authorization", "Bearer other"),))),
        ("m12.trailers", _HEAD),
        Expect("answered", (Wanted("h2.example", "/trailed", "POST", secret=True, body=b"ab"),)),
    ),
    Case(
        "http2-second-stream",
        "the second stream of a judged connection is for another host",
        _over(H2(fields("/first")), H2(fields("/second", host="evil.example"))),
        (_HEAD, "f4.3"),
        Expect("refused", (Wanted("h2.example", "/first", secret=True),)),
    ),
    Case(
        "http2-upload",
        "the body of a denied upload is upstream before the decision",
        (
            Connect("evil.example:443"),
            Tls("evil.example", ("h2", "http/1.1")),
            H2(fields("/", method="POST", host="evil.example"), b"x" * 60_000),
        ),
        ("m12.denied-upload", "f4.10"),
    ),
    Case(
        "http2-not-offered",
        "HTTP/2 where no rule offers it",
        (
            Connect("good.example:443"),
            Tls("good.example", ("h2", "http/1.1")),
            Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
            Read(),
        ),
        (_HEAD,),
    ),
    Case(
        "http2-http1-behind",
        "HTTP/1 on a connection that agreed on HTTP/2",
        (Connect("h2.example:443"), Tls("h2.example", ("h2",)), Send(request("evil.example")), Read()),
        (_HEAD,),
    ),
)
