"""Heads: read into a request or refused, and what of them goes upstream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import limits
from proxy.head import (
    BadHead,
    Head,
    forwarded,
    host_field,
    is_websocket,
    read_connect,
    read_destination,
    read_head,
)
from proxy.policy.host import parse_authority
from proxy.policy.reason import Reason

TUNNEL = parse_authority("good.example:443", None)
HOST = (b"Host", b"good.example")


def head(
    *headers: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/x?y=1", version: bytes = b"HTTP/1.1"
) -> Head:
    return Head(method, target, version, headers)


def reason_of(bad: Head, *, tunnelled: bool = True) -> Reason:
    with pytest.raises(BadHead) as caught:
        read_head(bad, tunnel=TUNNEL if tunnelled else None, tls=tunnelled)
    return caught.value.reason


def test_a_good_head_is_a_request() -> None:
    request = read_head(head(HOST), tunnel=TUNNEL, tls=True)
    assert (request.scheme, request.host.name, request.port, request.method) == ("https", "good.example", 443, "GET")
    assert (request.path, request.query, request.query_keys) == ("/x", "y=1", ("y",))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (head(), Reason.MALFORMED_REQUEST),
        (head(HOST, HOST), Reason.MALFORMED_REQUEST),
        (head((b"Host", b"evil.example")), Reason.AUTHORITY_MISMATCH),
        (head((b"Host", b"good.example:444")), Reason.AUTHORITY_MISMATCH),
        (head(HOST, (b"X Y", b"")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"X", b"a\rb")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Content-Length", b"1"), (b"Content-Length", b"1")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Content-Length", b"01")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Content-Length", b"1, 1")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Transfer-Encoding", b"identity")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Transfer-Encoding", b"chunked"), version=b"HTTP/1.0"), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Expect", b"200-ok")), Reason.MALFORMED_REQUEST),
        (head(HOST, version=b"HTTP/3.0"), Reason.MALFORMED_REQUEST),
        (head(HOST, target=b"x"), Reason.MALFORMED_REQUEST),
        (head(HOST, target=b"*"), Reason.MALFORMED_REQUEST),
        (head(HOST, *[(b"X", b"y")] * 300), Reason.LIMIT_EXCEEDED),
        (head(HOST, (b"Content_Length", b"1")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Transfer_Encoding", b"chunked")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"transfer.encoding", b"chunked")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"Proxy_Authorization", b"x")), Reason.MALFORMED_REQUEST),
        (head(HOST, (b"x%2dApi-Key", b"x")), Reason.MALFORMED_REQUEST),
        (head(HOST, target=b"/" + b"x" * limits.MAX_TARGET), Reason.LIMIT_EXCEEDED),
    ],
)
def test_a_head_with_two_readings_has_none(bad: Head, reason: Reason) -> None:
    assert reason_of(bad) is reason


def test_outside_a_tunnel_only_an_absolute_http_url_is_a_request() -> None:
    assert reason_of(head(HOST), tunnelled=False) is Reason.MALFORMED_REQUEST
    secure = Head(b"GET", b"/", b"HTTP/1.1", (HOST,), b"https", b"good.example")
    assert reason_of(secure, tunnelled=False) is Reason.PROTOCOL_NOT_ALLOWED
    plain = Head(b"GET", b"/", b"HTTP/1.1", (HOST,), b"http", b"good.example")
    assert read_head(plain, tunnel=None, tls=False).port == 80


@pytest.mark.parametrize("method", [b"Connect", b"connect"])
def test_connect_is_spelled_one_way(method: bytes) -> None:
    with pytest.raises(BadHead):
        read_connect(Head(method, b"", b"HTTP/1.1", (), b"", b"good.example:443"))


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=5),
    st.binary(max_size=8),
    st.binary(max_size=16),
    st.sampled_from([b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/9"]),
    st.binary(max_size=16),
    st.booleans(),
)
def test_any_bytes_are_a_request_or_a_bad_head(
    headers: list[tuple[bytes, bytes]], method: bytes, target: bytes, version: bytes, authority: bytes, tunnelled: bool
) -> None:
    any_head = Head(method, target, version, (HOST, *headers), b"http", authority)
    for read in (
        lambda: read_head(any_head, tunnel=TUNNEL if tunnelled else None, tls=tunnelled),
        lambda: read_connect(any_head),
    ):
        try:
            read()
        except BadHead:
            continue


def test_hop_by_hop_fields_stay_and_framing_cannot_be_taken_away() -> None:
    sent = (
        (b"host", b"good.example"),
        (b"Connection", b"close, X-Mine, Content-Length, Transfer-Encoding"),
        (b"X-Mine", b"1"),
        (b"Content-Length", b"3"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"X-HTTP-Method-Override", b"DELETE"),
        (b"Expect", b"100-continue"),
        (b"Kept", b"1"),
    )
    assert forwarded(sent, TUNNEL, "https", websocket=False) == (
        (b"Host", b"good.example"),
        (b"Content-Length", b"3"),
        (b"Kept", b"1"),
    )


def test_the_clients_trace_headers_stay_unless_a_rule_keeps_them() -> None:
    traced = tuple((name, b"x") for name in (b"traceparent", b"TraceState", b"BAGGAGE"))
    plain = ((b"Kept", b"1"), (b"X-Trace", b"1"))

    assert forwarded((*traced, *plain), TUNNEL, "https", websocket=False)[1:] == plain
    assert forwarded((*traced, *plain), TUNNEL, "https", websocket=False, trace_context=True)[1:] == (*traced, *plain)


def test_what_connection_names_stays_also_where_a_rule_keeps_trace_headers() -> None:
    sent = ((b"Connection", b"baggage"), (b"Baggage", b"1"), (b"Traceparent", b"1"))
    assert forwarded(sent, TUNNEL, "https", websocket=False, trace_context=True)[1:] == ((b"Traceparent", b"1"),)


def test_host_is_written_by_us() -> None:
    assert host_field(parse_authority("a.example:443", None), "https") == b"a.example"
    assert host_field(parse_authority("a.example:8443", None), "https") == b"a.example:8443"
    assert host_field(parse_authority("[2001:4860::1]:80", None), "http") == b"[2001:4860::1]"


UPGRADE = (
    (b"Upgrade", b"websocket"),
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
)


def test_a_websocket_is_recognised_and_rewritten() -> None:
    assert is_websocket(head(HOST, *UPGRADE))
    names = [name for name, _ in forwarded((HOST, *UPGRADE), TUNNEL, "https", websocket=True)]
    assert b"Sec-WebSocket-Extensions" not in names
    assert names.count(b"Upgrade") == 1


@pytest.mark.parametrize("missing", range(4))
def test_half_an_upgrade_is_none(missing: int) -> None:
    assert not is_websocket(head(HOST, *[field for index, field in enumerate(UPGRADE) if index != missing]))


@pytest.mark.parametrize(
    "name",
    [
        *(b"X-Forwarded-Host", b"X-Forwarded-Uri", b"X-Forwarded-Method", b"X-Forwarded-Prefix", b"X-Original-URI"),
        *(b"x.http.method.override", b"X_Original_URL", b"Forwarded", b"X-Rewrite-Url", b"Method-Override"),
        *(b"X-Tunneled-Method", b"X-Requested-Method", b"X-Envoy-Original-Method", b"X-Forwarded-Authority"),
        *(b"_method", b"X-Accel-Redirect", b"X-Backend-Host", b"X-Original-Path", b"Http-Method"),
    ],
)
def test_what_changes_the_target_for_some_servers_stays(name: bytes) -> None:
    assert forwarded(((name, b"x"), (b"Kept", b"1")), TUNNEL, "https", websocket=False)[1:] == ((b"Kept", b"1"),)


def test_the_longest_target_is_a_request() -> None:
    longest = b"/" + b"x" * (limits.MAX_TARGET - 1)
    assert read_head(head(HOST, target=longest), tunnel=TUNNEL, tls=True).target == longest.decode()


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (b"/b?c", "/b?c"),
        (b"https://good.example/b", "/b"),
        (b"HTTPS://GOOD.example:443/b", "/b"),
        (b"https://evil.example/b", Reason.AUTHORITY_MISMATCH),
        (b"https://good.example:444/b", Reason.AUTHORITY_MISMATCH),
        (b"http://good.example/b", Reason.AUTHORITY_MISMATCH),
        (b"b", Reason.AUTHORITY_MISMATCH),
        (b"//evil.example/b", Reason.AMBIGUOUS_PATH),
        (b"/\\evil.example/b", Reason.AMBIGUOUS_PATH),
        (b"https://good.example//evil.example/b", Reason.AMBIGUOUS_PATH),
        (b"/a/../b", Reason.AMBIGUOUS_PATH),
        (b"/b#c", Reason.MALFORMED_REQUEST),
        (b"/\xc3\xa9", Reason.MALFORMED_REQUEST),
    ],
)
def test_where_copy_and_move_write_is_a_request_too(value: bytes, target: str | Reason) -> None:
    copy = head(HOST, (b"Destination", value), method=b"COPY")
    request = read_head(copy, tunnel=TUNNEL, tls=True)
    if isinstance(target, Reason):
        with pytest.raises(BadHead) as caught:
            read_destination(copy, request)
        assert caught.value.reason is target
        return
    found = read_destination(copy, request)
    assert found is not None
    assert (found.target, found.method, found.host) == (target, "COPY", request.host)


@pytest.mark.parametrize("method", [b"PUT", b"BIND", b"REBIND", b"LINK", b"MKCOL"])
def test_a_place_that_another_method_names_is_judged_too(method: bytes) -> None:
    named = head(HOST, (b"Destination", b"/b"), method=method)
    found = read_destination(named, read_head(named, tunnel=TUNNEL, tls=True))
    assert found is not None
    assert found.target == "/b"
    evil = head(HOST, (b"destination", b"https://evil.example/b"), method=method)
    with pytest.raises(BadHead):
        read_destination(evil, read_head(evil, tunnel=TUNNEL, tls=True))


def test_other_methods_write_nowhere_else() -> None:
    put = head(HOST, method=b"PUT")
    assert read_destination(put, read_head(put, tunnel=TUNNEL, tls=True)) is None
    posed = head(HOST, (b"Destination", b"/b"), method=b"POST", target=b"/?_method=MOVE")
    assert read_destination(posed, read_head(posed, tunnel=TUNNEL, tls=True)) is not None
