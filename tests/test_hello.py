"""The hello of a tunnel has one reading, or none: what a lenient peer could take another name from is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.proxy.layers.tls import parse_client_hello

from proxy.hello import BadHello, hello_complete, judge_hello, read_hello

RANDOM = bytes(32)


def extension(number: int, body: bytes) -> bytes:
    return number.to_bytes(2) + len(body).to_bytes(2) + body


def named(*names: bytes) -> bytes:
    listed = b"".join(b"\0" + len(name).to_bytes(2) + name for name in names)
    return extension(0, len(listed).to_bytes(2) + listed)


def message(*extensions: bytes, kind: int = 1, after: bytes = b"") -> bytes:
    block = b"".join(extensions)
    body = b"\3\3" + RANDOM + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(block).to_bytes(2) + block + after
    return bytes([kind]) + len(body).to_bytes(3) + body


def record(data: bytes) -> bytes:
    return b"\x16\3\1" + len(data).to_bytes(2) + data


class Judged:
    """Stands in for the gate: what it would be asked."""

    def server_name(self, _: object, name: str | None, *, present: bool, encrypted: bool) -> None:
        self.asked = (name, present, encrypted)


def judged(data: bytes) -> tuple[str | None, bool, bool]:
    gate = Judged()
    assert hello_complete(data)
    judge_hello(gate, None, read_hello(data))  # type: ignore[arg-type]
    return gate.asked


ONE = named(b"one.example")


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (record(message(ONE)), ("one.example", True, False)),
        (record(message()), (None, False, False)),
        (record(message(ONE)[:20]) + record(message(ONE)[20:]), ("one.example", True, False)),
        (record(message(ONE)) + b"\x14\3\3\0\1\1", ("one.example", True, False)),
        (record(message(named(b"one.example", b"two.example"))), (None, True, False)),
        (record(message(ONE, named(b"two.example"))), (None, True, False)),
        (record(message(extension(0, b"\0\0"), ONE)), (None, True, False)),
        (record(message(ONE, extension(0xFE0D, b"x"))), ("one.example", True, True)),
    ],
)
def test_what_the_gate_is_asked(data: bytes, asked: tuple[str | None, bool, bool]) -> None:
    assert judged(data) == asked


@pytest.mark.parametrize(
    "data",
    [
        record(message(ONE, kind=2)),
        record(message(ONE, kind=0)),
        record(message(ONE, after=named(b"two.example"))),
        record(message(ONE, after=b"\0")),
        record(message(ONE) + message(named(b"two.example"))),
        record(message(ONE)[:20]) + record(message(ONE)[20:] + b"\0"),
    ],
)
def test_a_hello_that_could_be_read_in_another_way_is_refused(data: bytes) -> None:
    with pytest.raises(BadHello):
        judged(data)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([ONE, named(), named(b"one.example", b"two.example"), extension(16, b"\0\3\2h2"), b"\0"])),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=2),
)
def test_what_is_read_here_the_other_lane_reads_alike(extensions: list[bytes], changes: list[tuple[int, int]]) -> None:
    """mitmproxy's parser reads the hellos of its lane."""
    data = bytearray(record(message(*extensions)))
    for at, value in changes:
        data[min(at, len(data) - 1)] = value
    try:
        ours = read_hello(bytes(data)) if hello_complete(bytes(data)) else None
    except BadHello:
        ours = None
    try:
        theirs = parse_client_hello(bytes(data))
    except ValueError:  # in extensions that nothing here is judged by
        theirs = None
    if ours is None or theirs is None:
        return
    assert [number for number, _ in theirs.extensions] == [number for number, _ in ours.extensions]
    if theirs.sni is not None and [number for number, _ in ours.extensions].count(0) == 1:
        assert ours.sni == theirs.sni
