"""Answers and switches of protocol: nothing gets out of HTTP, and one answer stays one answer."""

from tests.boundary.case import H2, Case, Connect, Expect, Read, ReadRaw, Send, Tls, Wanted, inside, request
from tests.boundary.cases.http2 import STRICT, fields
from tests.boundary.cases.identity import CONTROL

_WS = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


def _answered(id_: str, threat: str, path: str, origin: str, **more: str) -> Case:
    return Case(
        f"upgrades-{id_}",
        threat,
        inside("good.example", request("good.example", path)),
        (origin,),
        Expect(
            "answered",
            (Wanted("good.example", path, secret=True),),
            said=more.get("said", ""),
            unsaid=tuple(more.get("unsaid", "").split()),
        ),
        kept=more.get("kept", ""),
    )


def _websocket(path: str, threat: str) -> Case:
    """A WebSocket whose upstream does not answer as RFC 6455 section 4.2.2 says."""
    return Case(
        f"upgrades-{path}",
        threat,
        (
            Connect("good.example:443"),
            Tls("good.example"),
            Send(request("good.example", f"/{path}", more=_WS)),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.101", "f4.15"),
        Expect("refused", (Wanted("good.example", f"/{path}", secret=True),), unsaid=("world: switched",)),
    )


def _over_h2(path: str, threat: str, origin: str, client: str, **more: str) -> Case:
    host = "h2up.example"
    return Case(
        f"upgrades-h2-{path}",
        threat,
        (Connect(f"{host}:443"), Tls(host, ("h2",)), H2(fields(f"/{path}", host=host))),
        (origin,),
        Expect(
            client,
            (Wanted(host, f"/{path}", secret=True),),
            said=more.get("said", ""),
            unsaid=tuple(more.get("unsaid", "").split()),
        ),
        kept=more.get("kept", ""),
    )


CASES = (
    _websocket("ws-other-key", "a WebSocket that is accepted for another key"),
    _websocket("ws-two-keys", "a WebSocket that is accepted twice"),
    _websocket("ws-list", "a WebSocket whose upstream switches to one of two protocols"),
    _websocket("ws-two", "a WebSocket whose upstream switches to two protocols"),
    _websocket("ws-old", "a WebSocket that the upstream accepts as HTTP/1.0, which has none"),
    _websocket("ws-extension", "a WebSocket with an extension that nobody offered, in which a secret is not found"),
    _over_h2("push", "an HTTP/2 upstream pushes an answer that nobody asked for", "m12.h2", "either", unsaid="pushed"),
    _over_h2("101", "an HTTP/2 upstream switches protocols", "m12.101", "refused", unsaid="switched", kept=STRICT),
    _over_h2("echo-data", "an HTTP/2 upstream hands the credential back, in pieces", "f4.29", "answered", said="end"),
    Case(
        "upgrades-switch",
        "an upstream switches protocols unasked, and everything after it is unseen",
        (
            Connect("good.example:443"),
            Tls("good.example"),
            Send(request("good.example", "/switch")),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.101",),
        Expect("refused", (Wanted("good.example", "/switch", secret=True),)),
    ),
    *(
        Case(
            f"upgrades-{path}",
            threat,
            (*inside("good.example", request("good.example", f"/{path}")), Send("raw bytes\r\n\r\n"), ReadRaw()),
            ("m12.101",),
            Expect("refused", (Wanted("good.example", f"/{path}", secret=True),), unsaid=("world: switched",)),
        )
        for path, threat in (
            ("switch-old", "an upstream switches protocols unasked, in HTTP/1.0"),
            ("switch-bare", "a switch of protocols as the whole answer, with a body and without the fields for it"),
        )
    ),
    Case(
        "upgrades-switch-plain",
        "the same over http",
        (
            Send("GET http://plain.example/switch HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.101",),
        Expect("refused", (Wanted("plain.example", "/switch", plain=True),)),
    ),
    Case(
        "upgrades-h2c",
        "an upgrade to HTTP/2 in clear hides the requests after it",
        (
            Connect("good.example:443"),
            Tls("good.example"),
            Send(request("good.example", "/h2c", more=_H2C)),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.h2c", "f4.22"),
        Expect(
            "refused",
            (Wanted("good.example", "/h2c", secret=True, without=("upgrade", "http2-settings", "connection")),),
        ),
    ),
    Case(
        "upgrades-h2c-list",
        "an upgrade to one of several protocols",
        (
            Connect("good.example:443"),
            Tls("good.example"),
            Send(request("good.example", "/h2c", more=_H2C.replace("Upgrade: h2c", "Upgrade: foo, h2c"))),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.h2c",),
        Expect(
            "refused",
            (Wanted("good.example", "/h2c", secret=True, without=("upgrade", "http2-settings", "connection")),),
        ),
    ),
    Case(
        "upgrades-ws-unaccepted",
        "a WebSocket that the upstream switches to something else",
        (
            Connect("good.example:443"),
            Tls("good.example"),
            Send(request("good.example", "/switch", more=_WS)),
            Read(),
            Send("raw bytes\r\n\r\n"),
            ReadRaw(),
        ),
        ("m12.101", "f4.15"),
        Expect("refused", (Wanted("good.example", "/switch", secret=True),)),
    ),
    Case(
        "upgrades-ws-denied",
        "a WebSocket to a denied host",
        inside("evil.example", request("evil.example", "/ws", more=_WS)),
        ("f4.15",),
    ),
    Case(
        "upgrades-ws-path",
        "a WebSocket to a denied path",
        inside("paths.example", request("paths.example", "/ws", more=_WS)),
        ("f4.15",),
    ),
    _answered("interim", "an interim answer takes the place of the final one", "/interim", "m12.1xx", said="final"),
    _answered("trailers", "trailers of an answer hang the connection", "/echo-trailer", "m12.trailers", said="ok"),
    _answered("alt-svc", "an answer shows a way past the proxy", "/alt-svc", "m12.101", unsaid="Alt-Svc"),
    _answered(
        "redirect",
        "the proxy follows a redirect itself, with the credential",
        "/redirect",
        "f4.3",
        said="Location",
        kept="no proxy may follow it for the client; the client comes back and is judged",
    ),
    Case(
        "upgrades-two-lengths",
        "an answer with two lengths poisons the next one",
        inside("free.example", request("free.example", "/two-lengths"), request("free.example", "/next")),
        ("f4.22",),
        Expect(
            "either", (Wanted("free.example", "/two-lengths"),), (Wanted("free.example", "/next"),), unsaid=("poison",)
        ),
        kept="stock mitmproxy refuses it too; peers did not",
    ),
    Case(
        "upgrades-extra-answer",
        "bytes after an answer become the answer to the next request",
        inside("free.example", request("free.example", "/more"), request("free.example", "/next")),
        ("f4.22",),
        Expect("answered", (Wanted("free.example", "/more"), Wanted("free.example", "/next")), unsaid=("poison",)),
        kept=CONTROL,
    ),
)
