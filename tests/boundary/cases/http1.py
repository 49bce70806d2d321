"""HTTP/1 that two parsers read differently: it is refused, or it arrives in one reading."""

from tests.boundary.case import Case, Expect, Wanted, inside, plainly, request
from tests.boundary.cases.identity import BY_HOST, CONTROL

_CTL, _ODD, _SMUGGLE = "m12.ctl", "m12.odd", "f4.22"
_H = "Host: good.example\r\n"
_INNER = "GET /smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n"
ONE_READING = "allowed, if what arrives is in one reading"
STRICT = "stock mitmproxy validates this too; peers and older versions did not"

# id: threat, bytes, origin
_REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "cl-te": (
        "Content-Length and Transfer-Encoding",
        f"POST / HTTP/1.1\r\n{_H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_INNER}",
        _SMUGGLE,
    ),
    "two-lengths": (
        "two Content-Lengths",
        f"POST / HTTP/1.1\r\n{_H}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        _SMUGGLE,
    ),
    "length-list": ("a list of lengths", f"POST / HTTP/1.1\r\n{_H}Content-Length: 4, 5\r\n\r\nabcde", _SMUGGLE),
    "length-signed": ("a signed length", f"POST / HTTP/1.1\r\n{_H}Content-Length: +4\r\n\r\nabcd", _SMUGGLE),
    "length-hex": ("a hexadecimal length", f"POST / HTTP/1.1\r\n{_H}Content-Length: 0x4\r\n\r\nabcd", _SMUGGLE),
    "length-unicode": (
        "a length in other digits",
        f"POST / HTTP/1.1\r\n{_H}Content-Length: \uff14\r\n\r\nabcd",
        _SMUGGLE,
    ),
    "te-space": (
        "a space before the colon of Transfer-Encoding",
        f"POST / HTTP/1.1\r\n{_H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        _SMUGGLE,
    ),
    "te-two": ("two codings", f"POST / HTTP/1.1\r\n{_H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", _SMUGGLE),
    "te-unknown": (
        "an unknown coding",
        f"POST / HTTP/1.1\r\n{_H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        _SMUGGLE,
    ),
    "te-twice": (
        "Transfer-Encoding twice",
        f"POST / HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        _SMUGGLE,
    ),
    "te-10": (
        "a chunked body in HTTP/1.0",
        f"POST / HTTP/1.0\r\n{_H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _SMUGGLE,
    ),
    "fold": ("a folded line", f"GET / HTTP/1.1\r\n{_H}X: a\r\n b\r\n\r\n", _CTL),
    "fold-host": ("a folded Host", "GET / HTTP/1.1\r\nHost:\r\n good.example\r\n\r\n", _CTL),
    "fold-te": (
        "a folded Transfer-Encoding",
        f"POST / HTTP/1.1\r\n{_H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        _CTL,
    ),
    "bare-cr": ("a bare CR in a value", f"GET / HTTP/1.1\r\n{_H}X: a\rTransfer-Encoding: chunked\r\n\r\n", _CTL),
    "bare-cr-first": ("a bare CR in the request line", f"GET /\rX HTTP/1.1\r\n{_H}\r\n", _CTL),
    "nul": ("NUL in a value", f"GET / HTTP/1.1\r\n{_H}X: a\0b\r\n\r\n", _CTL),
    "nul-name": ("NUL in a name", f"GET / HTTP/1.1\r\n{_H}X\0Y: a\r\n\r\n", _CTL),
    "ctl-path": ("a control character in the path", f"GET /\x01 HTTP/1.1\r\n{_H}\r\n", _CTL),
    "del-path": ("DEL in the path", f"GET /\x7f HTTP/1.1\r\n{_H}\r\n", _CTL),
    "space-name": ("a space in a name", f"GET / HTTP/1.1\r\n{_H}X Y: a\r\n\r\n", _CTL),
    "no-colon": ("a line without a colon", f"GET / HTTP/1.1\r\n{_H}Xabc\r\n\r\n", _CTL),
    "empty-name": ("an empty name", f"GET / HTTP/1.1\r\n{_H}: a\r\n\r\n", _CTL),
    "space-first": ("a space before the first header", f"GET / HTTP/1.1\r\n X: a\r\n{_H}\r\n", _CTL),
    "utf8-path": ("UTF-8 in the path", f"GET /\u00fc HTTP/1.1\r\n{_H}\r\n", _CTL),
    "fragment": ("a fragment in the path", f"GET /#x HTTP/1.1\r\n{_H}\r\n", _ODD),
    "space-path": ("a space in the path", f"GET /x /y HTTP/1.1\r\n{_H}\r\n", _ODD),
    "version-12": ("HTTP/1.2", f"GET / HTTP/1.2\r\n{_H}\r\n", _ODD),
    "version-99": ("HTTP/9.9", f"GET / HTTP/9.9\r\n{_H}\r\n", _ODD),
    "version-20": ("HTTP/2.0 on an HTTP/1 connection", f"GET / HTTP/2.0\r\n{_H}\r\n", _ODD),
    "version-lower": ("http/1.1 in lower case", f"GET / http/1.1\r\n{_H}\r\n", _ODD),
    "version-09": ("HTTP/0.9", "GET /\r\n\r\n", _ODD),
    "preface": ("the HTTP/2 preface on an HTTP/1 connection", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _ODD),
    "method-odd": ("a method that is no token", f'GE\x01T"<> / HTTP/1.1\r\n{_H}\r\n', _ODD),
    "method-lower": ("a method in lower case: judged as another one", f"get / HTTP/1.1\r\n{_H}\r\n", _ODD),
    "trace": ("TRACE shows the credential that was added", f"TRACE / HTTP/1.1\r\n{_H}\r\n", "m12.trace"),
    "trace-forwards": ("TRACE with Max-Forwards", f"TRACE / HTTP/1.1\r\n{_H}Max-Forwards: 0\r\n\r\n", "f4.25"),
    "track": ("TRACK, the same by another name", f"TRACK / HTTP/1.1\r\n{_H}\r\n", "f4.25"),
    "expect-odd": ("an expectation of another kind", f"GET / HTTP/1.1\r\n{_H}Expect: 200-ok\r\n\r\n", _ODD),
    "asterisk": ("GET of *", f"GET * HTTP/1.1\r\n{_H}\r\n", _ODD),
    "target-relative": ("a target without a slash", f"GET evil.example HTTP/1.1\r\n{_H}\r\n", _ODD),
    "rubbish": ("rubbish instead of a request line", b"\x80\x81\x82\r\n\r\n", "m12.malformed"),
    "head-endless": ("a head that does not end", f"GET / HTTP/1.1\r\n{_H}" + "X: y\r\n" * 20_000, "m12.endless"),
    "head-fields": ("a thousand fields", f"GET / HTTP/1.1\r\n{_H}" + "X: y\r\n" * 1000 + "\r\n", "m12.endless"),
    "head-long-line": ("one endless line", f"GET /{'a' * 200_000} HTTP/1.1\r\n{_H}\r\n", "m12.endless"),
}
_HOP = (
    "Connection: close, X-Named, Authorization, Host\r\nX-Named: 1\r\nKeep-Alive: 1\r\nProxy-Connection: keep-alive\r\n"
    "Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nX-Kept: 1\r\n"
)
# At the proxy itself this one is a token, and is judged: see control-token-plain.
_HOP_PLAIN = _HOP.replace("Proxy-Authorization: Basic eDp5\r\n", "")
_OVERRIDES = "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n"

CASES = (
    *(
        Case(
            f"http1-{name}",
            threat,
            inside("good.example", data, method=str(data).split(" ")[0] if isinstance(data, str) else "GET"),
            (origin,),
        )
        for name, (threat, data, origin) in _REFUSED.items()
    ),
    Case(
        "http1-te-tab",
        "a vertical tab before the coding: seen by one, not by the other",
        inside(
            "good.example", f"POST /tab HTTP/1.1\r\n{_H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", method="POST"
        ),
        (_SMUGGLE, _CTL),
        Expect(
            "either",
            possible=(
                Wanted("good.example", "/tab", "POST", secret=True, exactly=(("transfer-encoding", "chunked"),)),
            ),
        ),
        kept=ONE_READING,
    ),
    Case(
        "http1-bare-lf",
        "lines that end in LF alone",
        inside("good.example", "GET /lf HTTP/1.1\nHost: good.example\nX: a\n\n"),
        (_CTL, _SMUGGLE),
        Expect("either", (Wanted("good.example", "/lf", secret=True),)),
        kept=ONE_READING,
    ),
    Case(
        "http1-bare-lf-cl-te",
        "a length and, after bare LFs, a coding",
        inside(
            "good.example",
            f"POST / HTTP/1.1\r\n{_H}Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            method="POST",
        ),
        (_SMUGGLE,),
    ),
    Case(
        "http1-chunk-size",
        "a chunk size that two parsers read differently",
        inside(
            "good.example",
            f"POST /chunks HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
            method="POST",
        ),
        (_SMUGGLE,),
        Expect("refused", possible=(Wanted("good.example", "/chunks", "POST", secret=True),)),
        kept=STRICT,
    ),
    Case(
        "http1-chunk-lf",
        "a chunk that ends in LF alone",
        inside(
            "good.example",
            f"POST /chunks HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\n\r\n5;\nabcde\n0\n\n{_INNER}",
            method="POST",
        ),
        (_SMUGGLE,),
        Expect("refused", possible=(Wanted("good.example", "/chunks", "POST", secret=True),)),
        kept=STRICT,
    ),
    Case(
        "http1-body-as-request",
        "a body that looks like a request is taken for the next one",
        inside("good.example", request("good.example", "/body", method="POST", body=_INNER), method="POST"),
        ("f4.24", _SMUGGLE),
        Expect("answered", (Wanted("good.example", "/body", "POST", secret=True, body=_INNER.encode()),)),
        kept=STRICT,
    ),
    Case(
        "http1-get-body",
        "the body of a GET is taken for the next request",
        inside("good.example", request("good.example", "/get-body", body=_INNER)),
        ("f4.24", _SMUGGLE),
        Expect("answered", (Wanted("good.example", "/get-body", secret=True, body=_INNER.encode()),)),
        kept=STRICT,
    ),
    Case(
        "http1-empty-chunk",
        "an empty piece of a body ends it early, and the rest is another request",
        inside(
            "good.example",
            f"POST /pieces HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\n\r\n"
            f"1\r\nG\r\n{len(_INNER):x}\r\n{_INNER}\r\n0\r\n\r\n",
            method="POST",
        ),
        ("m12.empty-chunk", _SMUGGLE),
        Expect("answered", (Wanted("good.example", "/pieces", "POST", secret=True, body=b"G" + _INNER.encode()),)),
        kept="shown on stock mitmproxy only with an addon that rewrites streams, as every masking proxy has one",
    ),
    Case(
        "http1-pipelined",
        "a request behind an allowed one is not judged",
        inside("good.example", request("good.example", "/one") + request("evil.example", "/two"), b""),
        (_SMUGGLE, "f4.3"),
        Expect("refused", (Wanted("good.example", "/one", secret=True),)),
        kept=BY_HOST,
    ),
    Case(
        "http1-trailers",
        "trailers of a request carry what the head may not",
        inside(
            "good.example",
            f"POST /trailed HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
            "2\r\nab\r\n0\r\nAuthorization: Bearer other\r\nHost: evil.example\r\n\r\n",
            method="POST",
        ),
        ("m12.trailers",),
        Expect("answered", (Wanted("good.example", "/trailed", "POST", secret=True, body=b"ab"),)),
    ),
    Case(
        "http1-hop",
        "fields of the hop go upstream, or name others for removal",
        inside("good.example", request("good.example", "/hop", more=_HOP)),
        ("m12.hop",),
        Expect(
            "answered",
            (
                Wanted(
                    "good.example",
                    "/hop",
                    secret=True,
                    without=("connection", "x-named", "keep-alive", "proxy-connection", "proxy-authorization", "te"),
                ),
            ),
        ),
    ),
    Case(
        "http1-hop-plain",
        "http: fields of the hop go upstream",
        plainly(f"GET http://plain.example/hop HTTP/1.1\r\nHost: plain.example\r\n{_HOP_PLAIN}\r\n"),
        ("m12.hop",),
        Expect(
            "answered",
            (
                Wanted(
                    "plain.example",
                    "/hop",
                    plain=True,
                    without=("connection", "x-named", "keep-alive", "proxy-connection", "proxy-authorization", "te"),
                ),
            ),
        ),
    ),
    Case(
        "http1-override",
        "a header changes the method after the decision",
        inside(
            "good.example",
            request("good.example", "/override", method="POST", more=_OVERRIDES, body="x"),
            method="POST",
        ),
        ("f4.26",),
        Expect(
            "answered",
            (
                Wanted(
                    "good.example",
                    "/override",
                    "POST",
                    secret=True,
                    without=("x-http-method-override", "x-http-method", "x-method-override"),
                ),
            ),
        ),
    ),
    Case(
        "http1-duplicates",
        "fields that come twice are merged or lost",
        inside("free.example", request("free.example", "/twice", more="X: a\r\nX: b\r\n")),
        ("f4.16",),
        Expect("answered", (Wanted("free.example", "/twice"),)),
        kept=CONTROL,
    ),
    Case(
        "http1-chunked",
        "an ordinary chunked upload",
        inside(
            "good.example",
            f"POST /up HTTP/1.1\r\n{_H}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            method="POST",
        ),
        (_SMUGGLE,),
        Expect("answered", (Wanted("good.example", "/up", "POST", secret=True, body=b"abc"),)),
        kept=CONTROL,
    ),
)
