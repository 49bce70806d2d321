"""Answers: what of a response reaches the client."""

import gzip

import pytest

from proxy.answer import BodyFilter, Undecodable, accepts, coding_of, has_line_breaks, returned
from proxy.credentials.decode import DecodeError
from proxy.credentials.scrub import Mask
from proxy.credentials.secret import Secret

VALUE = b"canary-value-0123456789"
HIDDEN = b"*" * len(VALUE)


def mask() -> Mask:
    return Mask([Secret(VALUE)])


def test_what_belongs_to_the_hop_stays_there() -> None:
    headers = (
        (b"Connection", b"close, X-Mine"),
        (b"X-Mine", b"1"),
        (b"Alt-Svc", b'h3=":443"'),
        (b"Keep-Alive", b"timeout=5"),
        (b"Upgrade", b"h2c"),
        (b"Content-Length", b"3"),
    )
    assert returned(headers, None, upgrade=False) == ((b"Content-Length", b"3"),)


def test_the_secret_is_masked_in_names_and_values() -> None:
    assert returned(((b"X-" + VALUE, b"a " + VALUE),), mask(), upgrade=False) == ((b"X-" + HIDDEN, b"a " + HIDDEN),)


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize("coded", [False, True])
def test_a_body_is_decoded_masked_and_counted(step: int, coded: bool) -> None:
    body = b"before " + VALUE + b" after"
    wire = gzip.compress(body) if coded else body
    counted: list[int] = []
    body_filter = BodyFilter(mask(), b"gzip" if coded else b"", counted.append)
    out = b"".join(
        piece for start in range(0, len(wire), step) for piece in body_filter.feed(wire[start : start + step])
    )
    out += b"".join(body_filter.flush())
    assert out == b"before " + HIDDEN + b" after"
    assert sum(counted) == len(wire)


def test_without_a_secret_the_coding_is_left_alone() -> None:
    body_filter = BodyFilter(None, b"zstd-of-tomorrow", lambda _: None)
    assert list(body_filter.feed(b"bytes")) == [b"bytes"]
    assert list(body_filter.feed(b"")) == []
    assert not body_filter.decodes


def test_what_cannot_be_searched_is_not_passed_on() -> None:
    with pytest.raises(Undecodable):
        BodyFilter(mask(), b"zstd-of-tomorrow", lambda _: None)
    cut = BodyFilter(mask(), b"gzip", lambda _: None)
    list(cut.feed(gzip.compress(b"whole")[:-4]))
    with pytest.raises(DecodeError):
        cut.flush()


def test_codings_are_joined_and_identity_is_none() -> None:
    assert coding_of(((b"Content-Encoding", b"identity"),)) == b""
    assert coding_of(((b"content-encoding", b"GZip"), (b"Content-Encoding", b"br"))) == b"gzip,br"


def test_only_the_right_digest_accepts_a_websocket() -> None:
    key, digest = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
    good = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Accept", digest))
    assert accepts(key, good)
    assert not accepts(key, good[1:])
    assert not accepts(key, (good[0], (b"Sec-WebSocket-Accept", b"x")))
    assert not accepts(key, (*good, (b"Sec-WebSocket-Extensions", b"permessage-deflate")))


@pytest.mark.parametrize("value", [b"one\r\n two", b"one\n\ttwo", b"one\rtwo", b"one\0two"])
def test_a_value_that_goes_on_in_another_line_is_seen(value: bytes) -> None:
    assert has_line_breaks(((b"A", b"b"), (b"X-Echo", value)))
    assert not has_line_breaks(((b"X-Echo", b"one two"),))


def test_connection_takes_nothing_away_that_the_client_needs() -> None:
    headers = (
        (b"Connection", b"content-encoding, Content-Type, set-cookie, WWW-Authenticate, x-mine"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Type", b"text/html"),
        (b"Set-Cookie", b"a=b"),
        (b"WWW-Authenticate", b"Basic"),
        (b"X-Mine", b"1"),
    )
    assert returned(headers, mask(), upgrade=False) == headers[1:5]


@pytest.mark.parametrize(
    "value", [b"outgate; error=x", b'cdn; received-status=200, OutGate; details="x"', b'"outgate"']
)
def test_an_upstream_does_not_speak_as_outgate(value: bytes) -> None:
    assert returned(((b"Proxy-Status", value),), None, upgrade=False) == ()
    assert returned(((b"Proxy_Status", value),), None, upgrade=False) == ()


def test_another_proxy_may_tell_its_status() -> None:
    headers = ((b"Proxy-Status", b"cdn.example; received-status=200"),)
    assert returned(headers, None, upgrade=False) == headers
