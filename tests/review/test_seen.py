"""One line of an audit log, read back as a value."""

import json
from datetime import UTC, datetime

import pytest

from proxy.review.seen import NotAnEvent, Seen, read_event
from tests.review.events import event, passed, refused, tunnel


def seen(line: dict[str, object]) -> Seen:
    found = read_event(json.dumps(line).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("line", "observed", "is_tunnel", "url"),
    [
        (event(url="https://a.example/x?secret=1"), True, False, "https://a.example/x"),
        (passed("r", url="https://a.example:8443/x"), False, False, "https://a.example:8443/x"),
        (event(url="http://a.example/"), True, False, "http://a.example/"),
        (refused("denied_by_rule", "PUT", "https://[2001:db8::1]/x"), False, False, "https://[2001:db8::1]/x"),
        (event(reason="upstream_unreachable"), False, False, "https://a.example/"),
        (event(reason="limit_exceeded", rule="r"), False, False, "https://a.example/"),
        (tunnel("a.example:443"), False, True, "a.example:443"),
        (refused("malformed_request", host=None, port=None, scheme="", path=""), False, False, "?:0"),
    ],
)
def test_what_an_event_says(line: dict[str, object], observed: bool, is_tunnel: bool, url: str) -> None:
    found = seen(line)
    assert (found.observed, found.tunnel, found.url) == (observed, is_tunnel, url)


@pytest.mark.parametrize("text", ["2026-11-20T11:30:00+01:00", "2026-11-20T10:30:00Z", "2026-11-20T10:30:00"])
def test_times_are_in_utc(text: str) -> None:
    assert seen(event(time=text)).time == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


def test_fields_of_a_later_writer_are_passed_over() -> None:
    assert seen(event(llm={"model": "x"})).host == seen(event()).host


def test_a_record_about_no_exchange_is_passed_over() -> None:
    assert read_event(b'{"v": 1, "type": "policy", "policy": "watch", "result": "loaded"}') is None
    with pytest.raises(NotAnEvent, match="version"):
        read_event(b'{"v": 2, "type": "policy"}')


@pytest.mark.parametrize(
    "host", ["a.example\nallow:", "a.example # x", "A b", "*.example", "bücher.example", "a" * 300, "127.1", ""]
)
def test_what_is_no_host_is_no_event(host: str) -> None:
    with pytest.raises(NotAnEvent, match="host"):
        seen(event(host=host))


def test_what_the_same_name_is_spelled_like_is_one_host() -> None:
    assert seen(event(host="A.Example.")).host == seen(event(host="a.example")).host
