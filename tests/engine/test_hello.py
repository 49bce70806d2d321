"""The hello of a tunnel has one reading, or none: what a lenient peer could take another name from is refused."""

import pytest

from proxy.engine.hello import BadHello, hello_complete, judge_hello, read_hello

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
