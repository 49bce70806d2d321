"""A request for access is read strictly, in each form, and whatever comes is a request or `BadRequest`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import limits
from proxy.internal.request import AccessRequest, BadRequest, read_request

ASKED = AccessRequest("docs.example", 443, "GET", "/v1", "for the docs")


@pytest.mark.parametrize(
    "body",
    [
        '{"host": "docs.example", "method": "GET", "path": "/v1?key=secret", "why": "for the docs", "more": [1]}',
        "host=Docs.Example.&method=GET&path=%2Fv1%3Fkey%3Dsecret&why=for+the+docs",
        "host: docs.example:443\nmethod: GET\npath: /v1?key=secret\n\nwhy: for the docs\n",
    ],
)
def test_the_three_forms_say_the_same(body: str) -> None:
    assert read_request(body.encode()) == ASKED


def test_method_and_path_may_be_left_out() -> None:
    asked = read_request(b'{"host": "docs.example", "why": "w", "method": null}')
    assert (asked.method, asked.path) == (None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "docs.example"},
        {"host": "", "why": "w"},
        {"host": "docs.example", "why": " \n"},
        {"host": "docs.example", "why": "w" * (limits.MAX_WHY + 1)},
        {"host": "docs.example", "why": "\x00" * limits.MAX_WHY},
        {"host": "docs.example", "why": "w", "method": "get"},
        {"host": "docs.example", "why": "w", "path": "v1"},
        {"host": "docs.example", "why": "w", "path": "/\x1b[2J"},
        {"host": "docs.example", "why": "w", "path": 1},
        {"host": "a b", "why": "w"},
        {"host": "user@docs.example", "why": "w"},
        {"host": "https://docs.example", "why": "w"},
    ],
)
def test_everything_else_is_none_and_is_not_quoted(fields: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(json.dumps(fields).encode())
    assert "docs.example" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"{}x", b'{"a":' + b"[" * 4000, b"host=a&host=b&why=w", b"&" * 4000]
)
def test_what_cannot_be_read_is_said_to_be_so(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(body)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda text: b"host=a.example&why=" + text.encode("utf-8", "replace")),
        st.dictionaries(
            st.sampled_from(["host", "why", "method", "path", "x"]),
            st.one_of(st.text(max_size=600), st.none(), st.integers()),
        ).map(lambda value: json.dumps({"host": "a.example", "why": "w"} | value).encode()),
    )
)
def test_what_is_taken_is_safe_to_record(body: bytes) -> None:
    try:
        asked = read_request(body)
    except BadRequest:
        return
    assert 0 < len(asked.why) <= limits.MAX_WHY
    assert not any(
        character in text for text in (asked.why, asked.path or "", asked.host) for character in "\r\n\x1b\u202e\u2028"
    )
