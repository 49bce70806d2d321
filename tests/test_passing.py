"""Answers that two readers could take for different ones."""

import pytest

from proxy.head import MAX_HEADERS, Headers
from proxy.passing import Answer


@pytest.mark.parametrize(
    ("headers", "in_doubt"),
    [
        ((), False),
        (((b"A", b"b"),) * MAX_HEADERS, False),
        (((b"A", b"b"),) * (MAX_HEADERS + 1), True),
        (((b"A", b"b\r\n c"),), True),
        (((b"A b", b"c"),), True),
        (((b"Content-Length", b"3"),), False),
        (((b"Content-Length", b"3"),) * 2, True),
        (((b"Content-Length", b"+3"),), True),
        (((b"Transfer-Encoding", b"chunked"),), False),
        (((b"Transfer-Encoding", b"\x0bchunked"),), True),
        (((b"Transfer-Encoding", b"chunked"), (b"content-length", b"3")), True),
    ],
)
def test_whether_an_answer_is_in_doubt(headers: Headers, in_doubt: bool) -> None:
    assert Answer(200, b"OK", b"HTTP/1.1", headers).in_doubt is in_doubt
