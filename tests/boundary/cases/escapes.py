"""Ways around HTTP: what is no HTTP, or no TLS where TLS is due, reaches nobody."""

import ssl
from contextlib import suppress

from tests.boundary.case import Case, Connect, Expect, Read, ReadRaw, Record, Send, Step, Tls, Wanted, inside, request
from tests.boundary.cases.identity import CONTROL
from tests.boundary.scenery import PUBLIC

_DNS = (
    b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04data\x04evil\x07example\x00\x00\x01\x00\x01\r\n\r\n"
)
_RAW = "m12.raw-in-tunnel"


def hello(name: str) -> bytes:
    """A TLS ClientHello for the name; `_` stands for a NUL."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read().replace(name.encode(), name.replace("_", "\0").encode())


def bare_hello(name: str, share: bytes = b"") -> bytes:
    """A TLS 1.3 ClientHello for the name, with a share of x25519. Without one, its server asks for another hello."""

    def sized(data: bytes, width: int = 2) -> bytes:
        return len(data).to_bytes(width) + data

    shares = b"\x00\x1d" + sized(share) if share else b""
    extensions = {
        0: sized(b"\x00" + sized(name.encode())),
        10: sized(b"\x00\x1d"),
        13: sized(b"\x04\x03\x08\x04\x08\x07"),
        43: sized(b"\x03\x04", 1),
        51: sized(shares),
    }
    block = b"".join(number.to_bytes(2) + sized(data) for number, data in extensions.items())
    body = b"\x03\x03" + bytes(range(32)) + b"\x00" + sized(b"\x13\x01\x13\x02") + b"\x01\x00" + sized(block)
    return b"\x16\x03\x01" + sized(b"\x01" + sized(body, 3))


def split(record: bytes, size: int) -> bytes:
    """The handshake of one TLS record, in records of `size` bytes."""
    body = record[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(record[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def _tunnelled(id_: str, threat: str, target: str, data: bytes, *origins: str, kept: str = "") -> Case:
    return Case(f"escapes-{id_}", threat, (Connect(target), Send(data), ReadRaw()), origins, kept=kept)


def _in_tls(id_: str, threat: str, data: bytes, *origins: str) -> Case:
    steps: tuple[Step, ...] = (Connect("good.example:443"), Tls("good.example", ()), Send(data), ReadRaw())
    return Case(f"escapes-{id_}", threat, steps, origins)


# A line and the end of a head, so that a parser that waits for one has it.
_SSH = b"SSH-2.0-OpenSSH_9.6\r\n\r\n"
_PLAIN = request("good.example").encode()
_TUNNEL = "tunnel.example:443"
_SHARE = b"\x09" + bytes(31)  # the base point of curve 25519
_UNHEARD = Expect(asked=("tunnel.example",), dialled=(f"{PUBLIC['tunnel.example']}:443",))

CASES = (
    _tunnelled("ssh", "SSH in a tunnel to an allowed host", "good.example:443", _SSH, _RAW, "f4.7"),
    _tunnelled("ssh-denied", "SSH in a tunnel to a denied host", "evil.example:443", _SSH, _RAW, "f4.7"),
    _tunnelled("binary", "bytes of no known protocol in a tunnel", "good.example:443", b"\0\1\2\3 data", _RAW, "f4.7"),
    _tunnelled("dns-in-443", "DNS over TCP in a tunnel to port 443", "good.example:443", _DNS, _RAW, "f4.8"),
    _tunnelled("dns-53", "DNS over TCP in a tunnel to port 53", "evil.example:53", _DNS, _RAW, "f4.8", "f4.38"),
    _tunnelled(
        "dns-53-allowed", "DNS over TCP to port 53 of an allowed host", "good.example:53", _DNS, "f4.8", "m12.ports"
    ),
    _tunnelled("mdns-5353", "DNS over TCP to port 5353", "good.example:5353", _DNS, "f4.8", "m12.ports"),
    _tunnelled(
        "plain-http", "http inside a CONNECT: the credential in clear", "good.example:443", _PLAIN, "m12.plaintext"
    ),
    _tunnelled(
        "plain-http-80", "http inside a CONNECT to port 80", "plain.example:80", _PLAIN, "m12.plaintext", "m12.ports"
    ),
    _tunnelled(
        "preface",
        "HTTP/2 without TLS inside a CONNECT",
        "good.example:443",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        "m12.plaintext",
    ),
    _tunnelled(
        "postgres", "a database's greeting in a tunnel", "good.example:5432", b"\0\0\0\x08\x04\xd2\x16\x2f", "m12.ports"
    ),
    _in_tls("raw-in-tls", "bytes of no known protocol inside intercepted TLS", b"\0\1\2\3 data\r\n\r\n", _RAW),
    _in_tls("ssh-in-tls", "SSH inside intercepted TLS", _SSH, _RAW),
    _in_tls("tls-in-tls", "TLS for another host inside intercepted TLS", hello("evil.example"), _RAW),
    _in_tls("dns-in-tls", "DNS inside intercepted TLS", _DNS, _RAW),
    *(
        Case(
            f"escapes-port-{port}",
            f"a port of an allowed host that no rule opens: {port}",
            (Connect(f"good.example:{port}"), Tls("good.example"), Send(request("good.example")), Read()),
            ("m12.ports", "f4.14"),
        )
        for port in (22, 25, 80, 853, 8443)
    ),
    Case(
        "escapes-port-http",
        "http: a port that no rule opens",
        (Send("GET http://plain.example:8080/ HTTP/1.1\r\nHost: plain.example:8080\r\n\r\n"), Read()),
        ("m12.ports", "f4.14"),
    ),
    Case(
        "escapes-socks5",
        "a SOCKS5 greeting at the proxy's port, with a NUL in the name",
        (Send(b"\x05\x01\x00\x05\x01\x00\x03\x1aevil.example\x00.good.example\x01\xbb\r\n\r\n"), ReadRaw()),
        ("f4.4",),
        kept="a proxy that speaks SOCKS has to read the name as it dials it; one that does not must refuse",
    ),
    Case(
        "escapes-tls-to-proxy",
        "TLS at the proxy's own port, for another host",
        (Send(hello("evil.example")), ReadRaw()),
        ("f4.13",),
    ),
    Case(
        "escapes-sni-nul",
        "a server name with NUL: read as one name by the one, as another by the other",
        (Connect("good.example:443"), Send(hello("evil.example_.good.example")), ReadRaw()),
        ("f4.4", "f4.13"),
    ),
    Case(
        "escapes-hello-records",
        "a server name in a hello of many tiny records",
        (Connect("good.example:443"), Send(split(hello("evil.example"), 1)), ReadRaw()),
        ("m12.endless", "f4.13"),
    ),
    Case(
        "escapes-hello-endless",
        "a hello that does not end",
        (
            Connect("good.example:443"),
            Send(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * 16380),
            Send(b"\x16\x03\x01\x40\x00" + b"\0" * 16384, 4),
            ReadRaw(),
        ),
        ("m12.endless",),
    ),
    Case(
        "escapes-tunnel",
        "a host that is not inspected",
        (Connect(_TUNNEL), Tls("tunnel.example"), Send(request("tunnel.example", "/tunnel")), Read()),
        (_RAW,),
        Expect("answered", (Wanted("tunnel.example", "/tunnel"),)),
        kept=CONTROL,
    ),
    Case(
        "escapes-tunnel-name",
        "another server name in a tunnel that is not inspected",
        (Connect(_TUNNEL), Send(bare_hello("evil.example", _SHARE)), ReadRaw()),
        ("f4.13", "f4.2"),
        _UNHEARD,
    ),
    Case(
        "escapes-tunnel-second-hello",
        "another server name in the second hello, which its server asked for",
        (
            Connect(_TUNNEL),
            Send(bare_hello("tunnel.example")),
            Record(),
            Record(),
            Send(bare_hello("evil.example", _SHARE)),
            ReadRaw(),
        ),
        ("f4.13", "f4.37"),
        _UNHEARD,
    ),
    Case(
        "escapes-tunnel-second-hello-ahead",
        "the same, sent before the server asked for it",
        (Connect(_TUNNEL), Send(bare_hello("tunnel.example") + bare_hello("evil.example", _SHARE)), ReadRaw()),
        ("f4.13", "f4.37"),
        _UNHEARD,
    ),
    Case(
        "escapes-no-alpn",
        "a client without ALPN",
        (Connect("good.example:443"), Tls("good.example", ()), Send(request("good.example", "/no-alpn")), Read()),
        (_RAW,),
        Expect("answered", (Wanted("good.example", "/no-alpn", secret=True),)),
        kept=CONTROL,
    ),
    Case(
        "escapes-large-upload",
        "the body of a denied upload is upstream before the decision, or fills memory",
        inside("evil.example", request("evil.example", method="POST", body="x" * 3_000_000), method="POST"),
        ("m12.denied-upload", "f4.10", "f4.17"),
    ),
    Case(
        "escapes-large-upload-chunked",
        "the same, with a chunked body",
        inside(
            "evil.example",
            b"POST / HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40
            + b"0\r\n\r\n",
            method="POST",
        ),
        ("m12.denied-upload", "m12.denied-streaming", "f4.10"),
    ),
    Case(
        "escapes-upload-path",
        "the body of an upload to an allowed host and a denied path arrives",
        inside("paths.example", request("paths.example", "/drop", method="POST", body="x" * 1_000_000), method="POST"),
        ("m12.denied-upload", "f4.10"),
    ),
    Case(
        "escapes-unfinished",
        "a denied request whose body never comes is upstream, or waits",
        inside(
            "evil.example",
            "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10000000000\r\n\r\nx",
            method="POST",
        ),
        ("m12.denied-upload", "f4.10"),
    ),
    Case(
        "escapes-expect",
        "a client that asks first whether it may send is told yes, to a denied host",
        inside(
            "evil.example",
            "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            method="POST",
        ),
        ("m12.denied-streaming",),
    ),
)
