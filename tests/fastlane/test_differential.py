"""The same bytes on both lanes: one verdict, the same bytes upstream, the same on record."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fastlane.lanes import HANG, HOST, RESET, Lanes, Seen, both
from tests.support import answers

METHODS = [b"GET", b"GET", b"POST", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"get", b"CONNECT", b"G(T", b"DELETE"]
TARGETS = [
    *[b"/good/x"] * 4,
    *(b"/good/x?a=b&c", b"/good/../y", b"/bad", b"*", b"/good/%2e%2e/x", b"http://good.example/good/x", b"/good/a b"),
    *(b"/good/\x80", b"//good/x", b"/good/%zz", b"good/x", b"ftp://good.example/good/x"),
]
VERSIONS = [*[b"HTTP/1.1"] * 6, b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1"]
HOSTS = [*[b"Host: good.example"] * 6, b"Host: good.example:80", b"Host: evil.example", b"host:good.example", b"X-A: b"]
FIELDS = [
    *(b"Accept: */*", b"Connection: close", b"Connection: keep-alive, X-A", b"X-A: b", b"X-A: \xc3\xa9", b"X-B:"),
    *(b"Expect: 100-continue", b"Expect: more", b"Transfer-Encoding: gzip", b"TE: trailers", b"Upgrade: h2c"),
    *(b"Content-Length: 1", b"Content-Length: +3", b"Content-Length: 3, 3", b"Host: good.example", b" folded: x"),
    *(
        b"X-Http-Method-Override: PUT",
        b"X_Real_Host: x",
        b"Content_Length: 3",
        b"Name : x",
        b"Na\x00me: x",
        b"X: a\x00b",
    ),
    *(b"X: a\rb", b"no colon", b": empty", b"X-Long: " + b"a" * 5000, b"Proxy-Authorization: Basic eDp5"),
]
BODIES = [
    *[(None, b"")] * 5,
    (b"Content-Length: 3", b"abc"),
    (b"Content-Length: 3", b"abc"),
    (b"Content-Length: 5", b"abc"),
    (b"Content-Length: 0", b""),
    (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"),
    (b"Transfer-Encoding: Chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"3\nabc\n0\n\n"),
    (b"Transfer-Encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"3\r\nabcd\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"3\r\nabc\r\n0\r\n\r\n"),
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nabc",
    b"HTTP/1.1 200\r\n\r\nabc",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX(: a\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
    b"HTTP/1.1 200 OK\r\nProxy-Status: outgate; error=x\r\nAlt-Svc: x\r\nContent-Length: 3\r\n\r\nabc",
    b"",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    line = b" ".join((draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), draw(st.sampled_from(VERSIONS))))
    # The other lane resets a refused CONNECT with a body, and its client need not see the refusal.
    framing, body = (None, b"") if line.startswith(b"CONNECT") else draw(st.sampled_from(BODIES))
    lines = [line, draw(st.sampled_from(HOSTS)), *draw(st.lists(st.sampled_from(FIELDS), max_size=2))]
    if framing is not None:
        lines.append(framing)
    end = draw(st.sampled_from([b"\r\n"] * 8 + [b"\n"]))
    return end.join([*lines, b"", b""]) + body


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    stream = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(stream)))
        stream = stream[:at] + draw(st.binary(max_size=2)) + stream[at + draw(st.integers(0, 1)) :]
    return stream


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    with both(tmp_path_factory.mktemp("lanes")) as it:
        yield it


def statuses(seen: Seen) -> list[bytes]:
    """Of every answer, in order: its status."""
    return re.findall(rb"HTTP/1\.[01] ([0-9]{3})", seen.answers)


# What the two may tell of one input in words of their own. Never the verdict, its reason, the status, the rule, the
# credential, how it ended, or how many exchanges there were.
#
# A head that is malformed: mitmproxy's parser gives up on some of them before there is a method, a path, or a word on
# what is wrong; its answer and its reason are the same.
MALFORMED = ("detail", "method", "scheme", "path", "query_keys")
# A client that leaves inside its body, or whose body breaks off: how much of it was sent on is a matter of time.
CUT_SHORT = ("bytes_out",)


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    left_out: tuple[str, ...] = ()
    if event["reason"] == "malformed_request":
        left_out += MALFORMED
    if is_cut_short(event):
        left_out += CUT_SHORT
    return {name: value for name, value in event.items() if name not in left_out}


def is_cut_short(event: dict[str, Any]) -> bool:
    return event["end"] == "client_closed" or event["detail"] == "the body is malformed"


def check(lanes: Lanes, stream: bytes) -> None:
    fast, other = lanes.send(stream)
    assert [comparable(event) for event in fast.events] == [comparable(event) for event in other.events]
    if fast.events and is_cut_short(fast.events[-1]):
        assert fast.upstream.startswith(other.upstream) or other.upstream.startswith(fast.upstream)
    else:
        assert fast.upstream == other.upstream
    assert fast.answers != HANG
    # Whoever closes while there is more to read resets, and then the client may not see what it was told before. The
    # other lane does not notice that a client said all inside the body of a pipelined request that is refused.
    if RESET not in (fast.answers, other.answers) and other.answers != HANG:
        assert statuses(fast) == statuses(other)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(stream=streams())
def test_requests(lanes: Lanes, stream: bytes) -> None:
    lanes.answer_with(answers.reply(200, b"abc"))
    check(lanes, stream)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_answers(lanes: Lanes, method: bytes, version: bytes, answer: bytes) -> None:
    lanes.answer_with(answers.raw(answer, close=True))
    length = b"Content-Length: 3\r\n\r\nabc" if method == b"POST" else b"\r\n"
    check(lanes, b"%b /good/x HTTP/%b\r\nHost: %b\r\n%b" % (method, version, HOST.encode(), length))
