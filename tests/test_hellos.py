"""The hellos of a tunnel: each is judged before it is whole at its server, and none that is sound breaks."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxy import limits
from proxy.hello import BadHello, Hello
from proxy.hellos import _RETRY, Hellos
from tests.support.pki import Authority
from tests.test_hello import message, named, record

GOOD, EVIL = "good.example", "evil.example"
CHANGE, EARLY = b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x00\x05early"
HELLO, SECOND = record(message(named(b"good.example"))), record(message(named(b"evil.example")))
POSTGRES = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # its request for TLS


def answer(random: bytes, size: int = 1 << 14) -> bytes:
    """A ServerHello with this random value, in records of `size` bytes."""
    body = b"\x03\x03" + random + b"\x00\x13\x01\x00"
    data = b"\x02" + len(body).to_bytes(3) + body
    return b"".join(record(data[at : at + size]) for at in range(0, len(data), size))


class Tunnel:
    """The hellos of one tunnel, and the names in those that were judged."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.hellos = Hellos(self._judge)

    def _judge(self, hello: Hello) -> None:
        self.names.append(hello.sni)

    def says(self, data: bytes, size: int = 1 << 16) -> bytes:
        """What passes, if the client's bytes come in reads of this size."""
        return b"".join(self.hellos.from_client(data[at : at + size]) for at in range(0, len(data), size))

    def hears(self, data: bytes, size: int = 1 << 16) -> None:
        for at in range(0, len(data), size):
            self.hellos.from_server(data[at : at + size])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["1.2", "1.3", "retry"])
def server(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext:
    context = authority.server_context(GOOD)
    if request.param == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    elif request.param == "retry":
        context.set_ecdh_curve("secp384r1")  # no client begins with it
    return context


class Side:
    """One side of TLS in memory."""

    def __init__(self, context: ssl.SSLContext, name: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=name is None, server_hostname=name)

    def take(self, data: bytes = b"") -> bytes:
        if data:
            self.incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()


def client_side(ca_file: Path) -> Side:
    return Side(ssl.create_default_context(cafile=ca_file), GOOD)


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("plain", [b"", POSTGRES, b"STARTTLS\r\n"])
def test_a_handshake_passes_as_it_is(server: ssl.SSLContext, authority: Authority, size: int, plain: bytes) -> None:
    tunnel, far, near = Tunnel(), Side(server), client_side(authority.ca_file)
    assert tunnel.says(plain, size) == plain
    tunnel.hears(b"220 go on\r\n" if plain else b"")
    data = near.take()
    for _ in range(4):
        passed = tunnel.says(data, size)
        assert passed == data
        reply = far.take(passed)
        tunnel.hears(reply, size)
        data = near.take(reply)
    assert near.tls.version() == far.tls.version()
    assert set(tunnel.names) == {GOOD}
    near.tls.write(SECOND)
    data = near.outgoing.read()
    assert tunnel.says(data + SECOND) == data + SECOND, "what comes later is nobody's business"
    assert set(tunnel.names) == {GOOD}


def test_a_second_hello_that_the_server_asked_for_is_judged(authority: Authority) -> None:
    context = authority.server_context(GOOD)
    context.set_ecdh_curve("secp384r1")
    tunnel, far, near = Tunnel(), Side(context), client_side(authority.ca_file)
    reply = far.take(tunnel.says(near.take()))
    tunnel.hears(reply)
    second = near.take(reply).replace(GOOD.encode(), EVIL.encode())
    assert EVIL.encode() in second
    tunnel.says(second)
    assert tunnel.names == [GOOD, EVIL]


@pytest.mark.parametrize("size", [1, 3, 1 << 14])
@pytest.mark.parametrize("between", [b"", CHANGE, EARLY, EARLY + CHANGE])
def test_what_may_stand_between_hides_nothing(size: int, between: bytes) -> None:
    tunnel = Tunnel()
    assert tunnel.says(HELLO + between, size) == HELLO + between
    tunnel.hears(answer(_RETRY, size) + CHANGE, size)
    tunnel.says(between + SECOND, size)
    assert tunnel.names == [GOOD, EVIL]


def test_the_last_byte_of_a_later_hello_waits_for_the_judge() -> None:
    tunnel = Tunnel()
    tunnel.says(HELLO)
    tunnel.hears(answer(_RETRY))
    tunnel.says(SECOND[:-1])
    assert tunnel.names == [GOOD]
    tunnel.says(SECOND[-1:])
    assert tunnel.names == [GOOD, EVIL]


@pytest.mark.parametrize("after", [SECOND, CHANGE + SECOND, EARLY + SECOND, SECOND[:6], b"x", b"\x18\x03\x03\x00\x01x"])
def test_no_second_hello_passes_before_the_server_asked_for_it(after: bytes) -> None:
    tunnel = Tunnel()
    with pytest.raises(BadHello):
        tunnel.says(HELLO + after + bytes(5))


def test_a_server_that_asks_twice_is_none() -> None:
    tunnel = Tunnel()
    tunnel.says(HELLO)
    tunnel.hears(answer(_RETRY))
    tunnel.says(HELLO)
    tunnel.hears(answer(bytes(32)))
    assert tunnel.says(SECOND) == SECOND
    assert tunnel.names == [GOOD, GOOD]


def in_text() -> Iterator[tuple[bytes, bytes]]:
    body = SECOND[5:]
    tiny = b"".join(record(body[at : at + 1]) for at in range(3)) + record(body[3:])
    for text in (POSTGRES, b"EHLO x\r\nSTARTTLS\r\n", b"x" * (limits.MAX_HEAD - 100)):
        for hello in (SECOND, tiny):
            yield text, hello


@pytest.mark.parametrize(("text", "hello"), list(in_text()), ids=range(6))
@pytest.mark.parametrize("size", [1, 1000, 1 << 17])
def test_a_hello_behind_plain_text_is_judged(text: bytes, hello: bytes, size: int) -> None:
    tunnel = Tunnel()
    tunnel.says(text + hello, size)
    assert tunnel.names == [EVIL]


def test_a_hello_behind_plain_text_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadHello):
        Tunnel().says(POSTGRES + SECOND[:1] + b"\x03\xff" + SECOND[3:])


def test_a_hello_that_the_server_did_not_understand_hides_no_later_one() -> None:
    tunnel = Tunnel()
    tunnel.says(HELLO)
    tunnel.hears(b"500 what?\r\n")
    tunnel.says(b"STARTTLS\r\n")
    tunnel.hears(b"220 go on\r\n")
    tunnel.says(SECOND)
    assert tunnel.names == [GOOD, EVIL]


def test_what_is_no_tls_passes_at_once_and_is_not_kept() -> None:
    tunnel = Tunnel()
    assert tunnel.says(b"\x16") == b""
    tunnel = Tunnel()
    assert tunnel.says(b"SSH-2.0-x\r\n", 1) == b"SSH-2.0-x\r\n"
    data = bytes(range(256)) * 1024
    assert tunnel.says(data, 4096) == data
    assert tunnel.says(SECOND) == SECOND, "beyond its bound nothing is looked for"
    assert (tunnel.names, len(tunnel.hellos._buffer)) == ([], 0)


def test_early_data_is_not_kept() -> None:
    tunnel = Tunnel()
    tunnel.says(HELLO)
    for _ in range(100):
        tunnel.says(b"\x17\x03\x03\x40\x00" + bytes(1 << 14), 5000)
        assert len(tunnel.hellos._buffer) < 5


def test_a_first_hello_with_much_behind_it_is_not_too_large() -> None:
    tunnel = Tunnel()
    early = (b"\x17\x03\x03\x40\x00" + bytes(1 << 14)) * 4
    assert tunnel.says(HELLO + early) == HELLO + early
