"""One spelling for a host: what is not a plain name, or is an address, matches no rule and is not dialled."""

from tests.boundary.case import Case, Connect, Expect, Read, Send, Step, Tls, Wanted, plainly, request
from tests.boundary.cases.identity import CONTROL

_IP, _IDNA, _TRICK = "m12.ip-spellings", "m12.idna", "f4.4"
STRICT = "stock mitmproxy refuses it too; peers did not"
BY_NAME = "the naive addon refuses what is not on its list; with CONNECT, and with another Host, it dials first"


def _tunnel(target: str) -> tuple[Step, ...]:
    return (Connect(target), Tls(None), Send(request(target.removesuffix(":443"))), Read())


_TARGETS: dict[str, tuple[str, str, str]] = {
    "decimal": ("an address as one number", "2130706433:443", _IP),
    "hex": ("an address in hexadecimal", "0x7f000001:443", _IP),
    "hex-dotted": ("an address in dotted hexadecimal", "0x7f.0.0.1:443", _IP),
    "octal": ("an address in octal", "0177.0.0.1:443", _IP),
    "short": ("an address in two parts", "127.1:443", _IP),
    "metadata-decimal": ("the metadata address as one number", "2852039166:443", _IP),
    "loopback": ("loopback by address", "127.0.0.1:443", "f4.36"),
    "unspecified": ("0.0.0.0, which is this machine", "0.0.0.0:443", "f4.36"),
    "metadata": ("the metadata service by address", "169.254.169.254:443", "f4.36"),
    "private": ("a private address", "10.0.0.1:443", "f4.36"),
    "public": ("a public address in no rule", "11.0.0.66:443", "f4.36"),
    "allowed-by-address": ("an allowed host by its address", "11.0.0.10:443", "f4.36"),
    "v6-loopback": ("IPv6 loopback", "[::1]:443", "f4.36"),
    "v6-mapped": ("a mapped IPv4 address", "[::ffff:127.0.0.1]:443", _IP),
    "v6-nat64": ("a NAT64 address", "[64:ff9b::7f00:1]:443", "f4.36"),
    "v6-zone": ("an IPv6 address with a zone", "[fe80::1%25lo]:443", _IP),
    "v6-zone-raw": ("the same, not encoded", "[fe80::1%lo]:443", _IP),
    "v6-bare": ("an IPv6 address without brackets", "::1:443", "f4.18"),
    "v6-bracket-name": ("a name in brackets", "[good.example]:443", _TRICK),
    "localhost": ("localhost by name", "localhost:443", "f4.39"),
    "no-port": ("no port", "good.example", _IDNA),
    "port-zero": ("port 0", "good.example:0", _IDNA),
    "port-zeros": ("a port with zeros in front", "good.example:00443", _IDNA),
    "port-large": ("port 65979, which is 443 in 16 bits", "good.example:65979", _IDNA),
    "port-wide": ("a port in full-width digits", "good.example:\uff14\uff14\uff13", _IDNA),
    "port-two": ("two ports", "good.example:443:22", _TRICK),
    "user": ("user information", "good.example@evil.example:443", _TRICK),
    "path": ("a path in the target", "good.example/x:443", _TRICK),
    "query": ("a query in the target", "evil.example?.good.example:443", _TRICK),
    "fragment": ("a fragment in the target", "evil.example#.good.example:443", _TRICK),
    "backslash": ("a backslash in the target", "evil.example\\.good.example:443", _TRICK),
    "url": ("a URL as target", "https://good.example:443", _TRICK),
    "nul": ("NUL in the name", "evil.example\0.good.example:443", _TRICK),
    "vt": ("a control character in the name", "evil.example\x0b.good.example:443", _TRICK),
    "percent": ("an encoded dot", "good%2eexample:443", _TRICK),
    "percent-nul": ("an encoded NUL", "evil.example%00.good.example:443", _TRICK),
    "cr": ("a CR in the name", "evil.example\r.good.example:443", _TRICK),
    "empty-label": ("an empty label", "good..example:443", _TRICK),
    "leading-dot": ("a leading dot", ".good.example:443", _TRICK),
    "two-dots": ("two dots at the end", "good.example..:443", _TRICK),
    "long-label": ("a label that is too long", "a" * 64 + ".wild.example:443", _TRICK),
    "long-name": ("a name that is too long", "a." * 130 + "wild.example:443", _TRICK),
    "homoglyph": ("a Cyrillic letter in an allowed name", "g\u043eod.example:443", _TRICK),
    "homoglyph-idna": ("the same in IDNA form", "xn--god-sed.example:443", _TRICK),
    "wide-letters": ("full-width letters", "\uff47ood.example:443", _IDNA),
    "ideographic-dot": ("an ideographic full stop", "good\u3002example:443", _IDNA),
    "soft-hyphen": ("a soft hyphen", "go\u00adod.example:443", _IDNA),
    "suffix": ("a name that ends like an allowed one", "evilgood.example:443", _TRICK),
    "prefix": ("a name that begins like an allowed one", "good.example.evil.example:443", _TRICK),
    "below": ("a name below one that is allowed exactly", "x.good.example:443", _TRICK),
    "wildcard-itself": ("the domain of a wildcard itself", "wild.example:443", _TRICK),
    "wildcard-like": ("a name that only ends like a wildcard's domain", "xwild.example:443", _TRICK),
    "star": ("a star as target", "*", _IDNA),
    "slash": ("a slash as target", "/", _IDNA),
    "empty": ("an empty name", ":443", _IDNA),
    "wildcard-asked": ("a name with a star", "*.wild.example:443", _TRICK),
    "underscore": ("a name that looks like an option", "-oProxyCommand.wild.example:443", _TRICK),
}
# What stock mitmproxy refuses by itself, before anything is dialled.
_STRICT = frozenset(
    [
        "backslash",
        "cr",
        "empty",
        "empty-label",
        "fragment",
        "homoglyph",
        "ideographic-dot",
        "leading-dot",
        "long-label",
        "long-name",
        "no-port",
        "nul",
        "path",
        "percent",
        "percent-nul",
        "port-large",
        "port-two",
        "port-zero",
        "query",
        "slash",
        "soft-hyphen",
        "star",
        "two-dots",
        "underscore",
        "url",
        "user",
        "v6-bare",
        "v6-zone",
        "vt",
        "wide-letters",
        "wildcard-asked",
    ]
)


def _same(name: str, threat: str, target: str, origin: str) -> Case:
    probe = (Connect(target), Tls("good.example"), Send(request("good.example", f"/{name}")), Read())
    return Case(
        f"addresses-{name}",
        threat,
        probe,
        (origin,),
        Expect("answered", (Wanted("good.example", f"/{name}", secret=True),)),
        kept=CONTROL,
    )


CASES = (
    *(
        Case(f"addresses-{name}", threat, _tunnel(target), (origin,), kept=STRICT if name in _STRICT else "")
        for name, (threat, target, origin) in _TARGETS.items()
    ),
    _same("upper", "an allowed name in upper case is the same name", "GOOD.Example:443", _IDNA),
    _same("dot", "an allowed name with a dot at the end is the same name", "good.example.:443", _IDNA),
    Case(
        "addresses-wildcard",
        "a name below a wildcard",
        (Connect("sub.wild.example:443"), Tls("sub.wild.example"), Send(request("sub.wild.example", "/w")), Read()),
        (_TRICK,),
        Expect("answered", (Wanted("sub.wild.example", "/w"),)),
        kept=CONTROL,
    ),
    *(
        Case(
            f"addresses-http-{name}",
            f"http: {threat}",
            plainly(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            (origin,),
            kept=BY_NAME,
        )
        for name, threat, host, origin in (
            ("loopback", "loopback by address", "127.0.0.1", "f4.36"),
            ("metadata", "the metadata service by address", "169.254.169.254", "f4.36"),
            ("metadata6", "the metadata service by IPv6 address", "[fd00:ec2::254]", "f4.36"),
            ("decimal", "an address as one number", "2130706433", _IP),
            ("octal", "an address in octal", "0177.0.0.1", _IP),
            ("mapped", "a mapped IPv4 address", "[::ffff:169.254.169.254]", _IP),
            ("user", "user information", "plain.example@evil.example", _TRICK),
            ("localhost", "localhost by name", "localhost", "f4.39"),
        )
    ),
    Case(
        "addresses-http-spoof",
        "http: the metadata service's URL, Host of an allowed host",
        plainly("GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
        ("f4.1", "f4.36"),
    ),
    *(
        Case(
            f"addresses-{name}",
            threat,
            plainly(line),
            ("m12.odd",),
            kept=STRICT if name in ("method-case", "ftp") else "",
        )
        for name, threat, line in (
            (
                "method-case",
                "CONNECT in mixed case",
                "Connect evil.example:443 HTTP/1.1\r\nHost: plain.example\r\n\r\n",
            ),
            (
                "method-case-url",
                "CONNECT in mixed case with a URL",
                "Connect http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n",
            ),
            ("ftp", "a foreign scheme", "GET ftp://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n"),
            (
                "https-plain",
                "an https URL on a connection without TLS",
                "GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
            ),
        )
    ),
)
