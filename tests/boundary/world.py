"""Everything around the proxy, inside a network namespace of its own: a resolver, servers on every address, a sniffer.

Every address is this machine's (a local route for 0.0.0.0/0 and ::/0), so whatever a proxy dials arrives here and is
recorded: names at the resolver, packets that begin something at the sniffer, bytes at the servers.
"""

import base64
import gzip
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tests.boundary import world_h2
from tests.boundary.certificates import Chains
from tests.boundary.scenery import ATTACKER, NOWHERE, OPEN_PORTS, PUBLIC, RESOLVER, SEARCH, SILENT, VETTED
from tests.support.pki import Authority

_FENCE = ("192.0.2.99", 9)
_OUTGOING = 4  # PACKET_OUTGOING: on lo each packet is seen twice
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SYN, _ACK = 2, 16
_WAIT = 5.0
_PAUSE = 0.1
_KEPT = 4096  # bytes of a body that are kept


@dataclass
class Request:
    """A request as a lenient server reads it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Arrival:
    """One connection to anybody. `stray` are bytes that are no request."""

    at: str
    sni: str | None = None
    tls: bool = False
    requests: list[Request] = field(default_factory=list)
    stray: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    done: bool = False
    connection: socket.socket | None = None

    def end(self) -> None:
        """Say nothing more to the proxy. What still comes of it is read."""
        with suppress(OSError):  # it is closed
            if self.connection is not None:
                socket.socket.shutdown(self.connection, socket.SHUT_WR)  # that of SSLSocket would end the reading, too


class World:
    """Run inside the namespace. `take` hands over what arrived since the last time."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "the world's CA")
        self._chains = Chains(folder, self.authority.ca_file)
        (folder / "stranger").mkdir()
        self._stranger = Authority(folder / "stranger", "a CA that nobody trusts")
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self._changed = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._asked: list[str] = []
        self._counts: dict[tuple[str, int], int] = {}
        self._dials: list[tuple[str, int, int, str]] = []
        self._fences = 0
        self._fence_seen = 0
        self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))

    def open(self, folder: Path) -> None:
        """Take over the network and the resolver of this namespace."""
        for command in (
            "ip link set lo up",
            "ip route add local 0.0.0.0/0 dev lo",
            "ip -6 route add local ::/0 dev lo",
        ):
            subprocess.run(command.split(), check=True)
        # One second for a silent name, so that a case for it is quick.
        files = {
            "resolv.conf": f"nameserver {RESOLVER}\nsearch {SEARCH}\noptions timeout:1 attempts:1\n",
            "hosts": "127.0.0.1 localhost\n::1 localhost\n",
            "nsswitch.conf": "hosts: files dns\n",
        }
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            if (place := Path("/etc", name)).exists():
                subprocess.run(["mount", "--bind", folder / name, place], check=True)
        self._sniffer.bind(("lo", 0))
        self._start(self._sniff)
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind((RESOLVER, 53))
        self._start(self._resolve, resolver)
        for port in OPEN_PORTS:
            for family in (socket.AF_INET, socket.AF_INET6):
                server = socket.socket(family, socket.SOCK_STREAM)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind(("", port))
                server.listen(64)
                self._start(self._accept, server)

    def take(self, own: set[int], proxy: int) -> tuple[list[Arrival], list[str], list[str]]:
        """Arrivals, names asked for, and `address:port` dialled, but for what came from the client's `own` ports to the
        port of the proxy."""
        with self._changed:
            # A proxy lets go of its upstreams when the client left, or keeps them for later; the next case has to dial
            # anew, so that what it does is seen. One that does neither is recorded as far as it came.
            if not self._changed.wait_for(lambda: all(each.done for each in self._arrivals), 0.1):
                for each in self._arrivals:
                    each.end()
                self._changed.wait_for(lambda: all(each.done for each in self._arrivals), 0.4)
            self._fences += 1
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fence:
                fence.sendto(b"", _FENCE)
            assert self._changed.wait_for(lambda: self._fence_seen == self._fences, _WAIT), "the sniffer stands still"
            arrivals, asked, dials = self._arrivals, self._asked, self._dials
            self._arrivals, self._asked, self._dials = [], [], []
        dialled = [
            f"{address}:{port}{protocol}"
            for address, port, source, protocol in dials
            if not (port == proxy and source in own)
        ]
        return arrivals, asked, dialled

    def lost(self) -> int:
        """Packets that the sniffer could not keep; anything but 0 makes the run worthless."""
        raw = self._sniffer.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("II", raw)[1])

    def _start(self, what: Callable[..., None], *given: object) -> None:
        threading.Thread(target=what, args=given, daemon=True).start()

    # --- packets ---

    def _sniff(self) -> None:
        self._sniffer.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        while True:
            packet, where = self._sniffer.recvfrom(128)
            if where[2] == _OUTGOING and (found := _beginning(packet[14:])):
                with self._changed:
                    if found[:2] == _FENCE:
                        self._fence_seen += 1
                    else:
                        self._dials.append(found)
                    self._changed.notify_all()

    # --- names ---

    def _resolve(self, server: socket.socket) -> None:
        while True:
            query, client = server.recvfrom(4096)
            name, kind, end = _question(query)
            with self._changed:
                self._asked.append(name)
                count = self._counts.get((name, kind), 0)
                self._counts[name, kind] = count + 1
            if name == SILENT:
                continue
            server.sendto(_answer(query[:end], name, kind, count), client)

    # --- servers ---

    def _accept(self, server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            address, port = connection.getsockname()[:2]
            arrival = Arrival(f"{address}:{port}", connection=connection)
            with self._changed:
                self._arrivals.append(arrival)
            self._start(self._serve, connection, arrival)

    def _serve(self, connection: socket.socket, arrival: Arrival) -> None:
        try:
            connection.settimeout(20)
            first = connection.recv(1, socket.MSG_PEEK)
            address = arrival.at.rpartition(":")[0]
            if first == b"\x16" and address != PUBLIC["plain-text.example"]:
                connection = self._tls(connection, arrival, address)
            if isinstance(connection, ssl.SSLSocket) and connection.selected_alpn_protocol() == "h2":
                world_h2.serve(connection, lambda *given: arrival.requests.append(Request(*given)))
            else:
                Server(connection, arrival).run()
        except (OSError, EOFError, ValueError):
            pass
        finally:
            connection.close()
            with self._changed:
                arrival.done = True
                self._changed.notify_all()

    def _tls(self, connection: socket.socket, arrival: Arrival, address: str) -> ssl.SSLSocket:
        def greet(sock: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            arrival.sni = name
            sock.context = self._context(address, name or address)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = greet
        # A context without a certificate cannot begin.
        context.load_cert_chain(self._leaf(self.authority, address, False))
        wrapped = context.wrap_socket(connection, server_side=True)
        arrival.tls, arrival.connection = True, wrapped
        return wrapped

    def _context(self, address: str, name: str) -> ssl.SSLContext:
        """Whoever is at an address has a certificate for whatever name is asked for: the worst that can be."""
        with self._changed:
            if (address, name) not in self._contexts:
                signer = self._stranger if address == PUBLIC["self-signed.example"] else self.authority
                shown = "elsewhere.example" if address == PUBLIC["wrong-name.example"] else name
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                host = next((host for host, its in PUBLIC.items() if its == address), "")
                odd = self._chains.leaf(host)
                context.load_cert_chain(odd or self._leaf(signer, shown, address == PUBLIC["expired.example"]))
                context.set_alpn_protocols(["h2"] if host == "h2up.example" else ["http/1.1"])
                self._contexts[address, name] = context
            return self._contexts[address, name]

    def _leaf(self, signer: Authority, name: str, expired: bool) -> Path:
        return signer.leaf(name, expired=expired)


class Server:
    """One connection of an upstream that reads leniently and does what the path says."""

    def __init__(self, connection: socket.socket, arrival: Arrival) -> None:
        self._socket, self._arrival, self._buffer = connection, arrival, b""

    def run(self) -> None:
        while self._more():
            if not _may_be_http(self._buffer):
                return self._stray()
            while b"\r\n\r\n" not in self._buffer:
                if not self._more(always=True):
                    self._arrival.stray += self._buffer
                    return None
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            request = _read(head)
            self._arrival.requests.append(request)
            self._body(request)
            if not self._respond(request):
                return None
        return None

    def _more(self, *, always: bool = False) -> bool:
        if self._buffer and not always:
            return True
        data = self._socket.recv(1 << 16)
        self._buffer += data
        self._arrival.raw += data[: max(0, 4 * _KEPT - len(self._arrival.raw))]
        return bool(data)

    def _stray(self) -> None:
        """Not HTTP: say something, so that a client can tell that it got through, and keep what comes."""
        self._socket.sendall(b"world: this is no http\r\n")
        if self._buffer.startswith(b"\x16\x03"):
            return  # a hello to a server without TLS tells nothing but that it was dialled
        while self._buffer:
            self._arrival.stray += self._buffer
            self._buffer = b""
            self._more()

    def _body(self, request: Request) -> None:
        if "100-continue" in request.values("expect"):
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in " ".join(request.values("transfer-encoding")).lower():
            while size := int(self._line().split(b";")[0], 16):
                self._take(request, size)
                self._line()
            while self._line():
                pass
        else:
            self._take(request, int((request.values("content-length") or ["0"])[0]))
        request.complete = True

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if not self._more(always=True):
                raise EOFError
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, request: Request, size: int) -> None:
        while size:
            if not self._more():
                raise EOFError
            part, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(part)
            request.body += part[: max(0, _KEPT - len(request.body))]

    def _respond(self, request: Request) -> bool:
        """Answer as `ANSWERS` says for the path; whether the connection goes on."""
        key = (request.values("authorization") or [""])[0].rpartition(" ")[2]
        path = request.target.partition("?")[0]
        make = ANSWERS.get(path)
        parts = make(key) if make else [_reply(b"ok")]
        for part in parts:
            self._socket.sendall(part)
            if path == "/echo-slow":
                time.sleep(_PAUSE)  # so that a proxy reads each piece alone
        return b"Content-Length" in parts[0] or b"chunked" in b"".join(parts[:2])


def _reply(body: bytes, more: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nX-World: yes\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


def _named_gzip(name: bytes, body: bytes) -> bytes:
    """A gzip member whose head names a file (RFC 1952 section 2.3)."""
    plain = gzip.compress(body, mtime=0)
    return plain[:3] + b"\x08" + plain[4:10] + name + b"\0" + plain[10:]


_ACCEPT = b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="  # of a key of sixteen zero bytes (RFC 6455 section 4.2.2)


def _websocket(accept: bytes, more: bytes = b"", protocol: bytes = b"websocket", version: bytes = b"HTTP/1.1") -> bytes:
    return version + (
        b" 101 Switching Protocols\r\nX-World: yes\r\nConnection: Upgrade\r\n"
        b"Upgrade: %b\r\nSec-WebSocket-Accept: %b\r\n%b\r\nworld: switched\r\n" % (protocol, accept, more)
    )


def _chunked(*parts: bytes, trailer: bytes = b"") -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nX-World: yes\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n" + trailer + b"\r\n"]


_stored: list[bytes] = []


def _store(key: str) -> list[bytes]:
    _stored.append(key.encode())
    return [_reply(b"ok")]


_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nX-World: yes\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
# What an upstream does, by path. The key is what stood in Authorization, which a bad upstream hands back.
ANSWERS: dict[str, Callable[[str], list[bytes]]] = {
    "/echo": lambda key: [_reply(b"<" + key.encode() + b">")],
    "/store": _store,
    "/stored": lambda _: [_reply(b"<" + _stored[-1] + b">")],
    "/echo-header": lambda key: [_reply(b"ok", b"X-Echo: " + key.encode() + b"\r\n")],
    "/echo-base64": lambda key: [_reply(base64.b64encode(b"user:" + key.encode()))],
    "/echo-hex": lambda key: [_reply(key.encode().hex().encode())],
    "/echo-percent": lambda key: [_reply(urllib.parse.quote(key, safe="").encode())],
    "/echo-json": lambda key: [_reply(b'{"key": "' + key.replace("/", "\\/").encode() + b'"}')],
    "/echo-gzip": lambda key: [_reply(gzip.compress(key.encode()), b"Content-Encoding: gzip\r\n")],
    "/echo-gzip-name": lambda key: [_reply(_named_gzip(key.encode(), b"ok"), b"Content-Encoding: gzip\r\n")],
    "/echo-codings": lambda key: [
        _reply(gzip.compress(zlib.compress(key.encode())), b"Content-Encoding: deflate, gzip\r\n")
    ],
    "/ws-other-key": lambda _: [_websocket(b"AAAA")],
    "/ws-two-keys": lambda _: [_websocket(_ACCEPT, b"Sec-WebSocket-Accept: AAAA\r\n")],
    "/ws-list": lambda _: [_websocket(_ACCEPT, protocol=b"websocket, h2c")],
    "/ws-two": lambda _: [_websocket(_ACCEPT, b"Upgrade: h2c\r\n")],
    "/ws-old": lambda _: [_websocket(_ACCEPT, version=b"HTTP/1.0")],
    "/ws-extension": lambda _: [_websocket(_ACCEPT, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")],
    "/echo-split": lambda key: _chunked(*(bytes([octet]) for octet in key.encode()), b"end"),
    "/echo-slow": lambda key: _chunked(key[:9].encode(), key[9:12].encode(), key[12:].encode(), b"end"),
    "/echo-trailer": lambda key: _chunked(b"ok", trailer=b"X-Echo: " + key.encode() + b"\r\n"),
    "/echo-error": lambda key: [b"HTTP/1.1 20x " + key.encode() + b"\r\nX-World: yes\r\n\r\n"],
    "/echo-flood": lambda key: [_reply((key[:-1] + "#").encode() * 200 + key.encode())],
    "/echo-reason": lambda key: [_reply(b"ok", status=b"200 " + key.encode())],
    "/switch": lambda _: [_SWITCH % b"anything", b"world: switched\r\n"],
    "/switch-old": lambda _: [(_SWITCH % b"anything").replace(b"/1.1", b"/1.0", 1), b"world: switched\r\n"],
    "/switch-bare": lambda _: [b"HTTP/1.1 101 \r\nX-World: yes\r\nContent-Length: 17\r\n\r\nworld: switched\r\n"],
    "/h2c": lambda _: [_SWITCH % b"h2c", b"world: switched\r\n"],
    "/interim": lambda _: [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", _reply(b"final")],
    "/two-lengths": lambda _: [
        b"HTTP/1.1 200 OK\r\nX-World: yes\r\nContent-Length: 2\r\nContent-Length: 60\r\n\r\n"
        b"okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    ],
    "/only": lambda _: [_reply(b"ok", b"Connection: close\r\n")],
    "/more": lambda _: [_reply(b"ok") + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"],
    "/alt-svc": lambda _: [_reply(b"ok", b'Alt-Svc: h3=":443"\r\n')],
    "/redirect": lambda _: [_reply(b"", b"Location: https://evil.example/\r\n", b"302 Found")],
}


def _may_be_http(data: bytes) -> bool:
    return re.match(rb"[A-Za-z!#$%&'*+.^_`|~0-9\x01-\x1f<>\"-]{1,20}( |\Z)", data) is not None


def _read(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    pairs = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
    return Request(method, rest.rpartition(" ")[0], pairs)


def _beginning(packet: bytes) -> tuple[str, int, int, str] | None:
    """Destination, port, source port and protocol of a packet that begins something; None for any other."""
    version = packet[0] >> 4
    if version == 4:
        protocol, target, rest = packet[9], str(IPv4Address(packet[16:20])), packet[(packet[0] & 15) * 4 :]
    elif version == 6:
        protocol, target, rest = packet[6], str(IPv6Address(packet[24:40])), packet[40:]
    else:
        return None
    source, port = struct.unpack("!HH", rest[:4])
    if protocol == socket.IPPROTO_TCP:
        return (target, port, source, "") if rest[13] & (_SYN | _ACK) == _SYN else None
    if protocol != socket.IPPROTO_UDP or (target, port) == (RESOLVER, 53) or source == 53:
        return None
    return target, port, source, "" if (target, port) == _FENCE else "/udp"


def _question(query: bytes) -> tuple[str, int, int]:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1"))
        at += size + 1
    return ".".join(labels).lower(), struct.unpack("!H", query[at + 1 : at + 3])[0], at + 5


def _answer(query: bytes, name: str, kind: int, count: int) -> bytes:
    turns = VETTED.get(name, [[PUBLIC.get(name, ATTACKER)]])
    found = [ip_address(text) for text in turns[min(count, len(turns) - 1)]] if name != NOWHERE else []
    version = {1: 4, 28: 6}.get(kind)
    records = [each.packed for each in found if each.version == version]
    code = 0x8583 if name == NOWHERE else 0x8580
    head = query[:2] + struct.pack("!HHHHH", code, 1, len(records), 0, 0) + query[12:]
    return head + b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(each)) + each for each in records)
