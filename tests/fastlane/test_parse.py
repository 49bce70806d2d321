"""Heads as the fast lane reads them: in a time that their size bounds, and nothing repaired."""

import pytest

from proxy.fastlane.parse import Answers, BadMessage, Requests
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
