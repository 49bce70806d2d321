"""Heads as the fast lane reads them: in a time that their size bounds, and nothing repaired."""

from random import Random

import pytest

from proxy.fastlane.parse import Answers, Requests
from proxy.fastlane.reader import BadMessage
from proxy.head import MAX_HEADERS, BadHead, Head, read_head
from proxy.passing import Answer

GET = b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n"


def request(*lines: bytes) -> Head:
    reader = Requests()
    reader.feed(GET + b"\r\n".join([*lines, b"", b""]))
    head = reader.next()
    assert isinstance(head, Head)
    return head


def test_folds_are_marked_once_however_many() -> None:
    head = request(b"A: b", *[b" c" * 100] * 200)
    assert head.values(b"a") == [b"b\r\n "]
    with pytest.raises(BadHead):
        read_head(head, tunnel=None, tls=False)


@pytest.mark.parametrize("line", [b"a: b", b" folded", b"a:"])
def test_more_fields_than_the_limit_are_not_read(line: bytes) -> None:
    asked, answered = Requests(), Answers()
    asked.feed(GET + (line + b"\r\n") * MAX_HEADERS + b"\r\n")
    answered.feed(b"HTTP/1.1 200 OK\r\n" + (b"a: b\r\n" + (line + b"\r\n") * MAX_HEADERS) + b"\r\n")
    for step in (asked.next, lambda: answered.next("GET")):
        with pytest.raises(BadMessage) as raised:
            step()
        assert raised.value.too_large


@pytest.mark.parametrize("blank", [b"\x0b", b"\x0c", b"\x00"])
def test_no_value_is_repaired(blank: bytes) -> None:
    head = request(b"Transfer-Encoding: " + blank + b"chunked")
    assert head.values(b"transfer-encoding") == [blank + b"chunked"]
    with pytest.raises(BadHead):
        read_head(head, tunnel=None, tls=False)


@pytest.mark.parametrize(
    ("lines", "in_doubt"),
    [
        ((), False),
        ((b"Content-Length: 3",), False),
        ((b"Transfer-Encoding: chunked",), False),
        ((b"Transfer-Encoding: Chunked",), False),
        ((b"Transfer-Encoding: gzip",), True),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 3"), True),
    ],
)
def test_whether_the_end_of_a_request_is_in_doubt(lines: tuple[bytes, ...], in_doubt: bool) -> None:
    reader = Requests()
    reader.feed(GET + b"\r\n".join([*lines, b"", b""]))
    reader.next()
    assert reader.in_doubt is in_doubt


def test_what_stands_behind_an_answer_spoils_the_connection() -> None:
    reader = Answers()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(reader.next("GET"), Answer)
    reader.next("GET")
    assert (reader.spoilt, reader.reusable) == (False, True)
    reader.feed(b"more")
    assert (reader.spoilt, reader.reusable, len(reader.buffer)) == (True, False, 0)


def test_an_answer_has_begun_with_one_that_says_to_wait() -> None:
    reader = Answers()
    assert not reader.begun
    reader.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert reader.next("GET") is None
    assert reader.begun


BODY = bytes(range(256)) * 3
CHUNKED = [b"%X\r\n%b\r\n" % (size, BODY[:size]) for size in (1, 5, 16, 255, 4, 300)] + [b"0\r\n\r\n"]
CHUNKS = b"".join(CHUNKED)
ENDS = [sum(map(len, CHUNKED[:count])) for count in range(1, len(CHUNKED))]
WHOLE = b"".join(BODY[:size] for size in (1, 5, 16, 255, 4, 300))


def pulled(reader: Answers) -> bytes:
    """What there is of a body, without its end."""
    pieces = []
    while isinstance(piece := reader.next("GET"), bytes):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(
    ("field", "framed", "body"),
    [
        (b"Transfer-Encoding: chunked", CHUNKS, WHOLE),
        (b"Content-Length: %d" % len(BODY), BODY, BODY),
        (b"Connection: close", BODY, BODY),
    ],
)
def test_a_body_is_the_same_however_it_is_cut_and_whenever_it_is_pulled(
    seed: int, field: bytes, framed: bytes, body: bytes
) -> None:
    chance = Random(seed)
    anywhere = chance.sample(range(1, len(framed)), chance.randrange(4))
    cuts = sorted({*chance.sample(ENDS, chance.randrange(len(ENDS) + 1)), *anywhere})
    reader = Answers()
    reader.feed(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n")
    assert isinstance(reader.next("GET"), Answer)
    got = b""
    for start, stop in zip([0, *cuts], [*cuts, len(framed)], strict=True):
        reader.feed(framed[start:stop])
        if chance.random() < 0.6:
            got += pulled(reader)
    got += pulled(reader)
    assert (got, reader.waiting) == (body, 0)


@pytest.mark.parametrize(
    ("pieces", "passes"),
    [
        ((b"5\r\nhello__",), b"hello"),
        ((b"5\r\nhello\r\n\r\n",), b"hello"),
        ((b"5\r\nhell\r\n",), b"hell\r"),
        ((b"-5\r\nhello\r\n",), b""),
        ((b"5 5\r\nhello\r\n",), b""),
        ((b"5\r\nhello", b"5\r\nhello\r\n"), b"hello"),  # where the end of the one before is missing
        ((b"a\r\nhello", b"5\r\nhello\r\n"), b"hello5\r\nhe"),
        ((b"0\r\n", b"5\r\nhello\r\n"), b""),  # among the trailers
    ],
)
def test_a_chunk_alone_is_read_as_strictly_as_others(pieces: tuple[bytes, ...], passes: bytes) -> None:
    reader = Answers()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.next("GET")
    reader.feed(b"5\r\nfirst\r\n")
    assert pulled(reader) == b"first"
    passed = bytearray()

    def read() -> None:
        for piece in (*pieces, b"0\r\n\r\n"):
            reader.feed(piece)
            while isinstance(part := reader.next("GET"), bytes):
                passed.extend(part)

    with pytest.raises(BadMessage):
        read()
    assert passed == passes


def test_what_follows_a_body_is_not_of_it() -> None:
    reader = Answers()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    reader.next("GET")
    reader.feed(b"hel")
    reader.feed(b"lo and more")
    assert pulled(reader) == b"hello"
    assert reader.spoilt
