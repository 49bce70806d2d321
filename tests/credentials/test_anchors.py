"""Each form is found, in its whole length, by anchors that are few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.anchors import Forms, anchors_of
from proxy.credentials.forms import forms_of

PLAIN = b"ghp_0123456789abcdefghijklmnopqrstuvwxyz"
SIGNS = b"sk-ant-api03-AbC/d+E=f&\"'<>x!"
MANY_SIGNS = b'a+b/c=d~e!f"g\\h%i&j<k>*?'
SHORT = b"x'\"&<>+/"

_FEW = st.lists(st.text("abc", min_size=1, max_size=6).map(str.encode), min_size=1, max_size=12, unique=True)


@pytest.mark.parametrize("secret", [PLAIN, SIGNS, MANY_SIGNS, SHORT, b"aaaaaaaa", b"&x" * 60])
def test_each_form_is_found_by_exactly_one_anchor_as_often_as_it_stands_there(secret: bytes) -> None:
    forms = sorted(forms_of(secret))
    anchors = anchors_of(forms)
    for form in forms:
        body = b"&" + form + b"\x00" + form
        whole = [(1, 1 + len(form)), (2 + len(form), 2 + 2 * len(form))]
        found = [
            anchor
            for anchor in anchors
            if anchor.shared in form
            and set(whole) <= set(anchor.spans(body, body.find(anchor.shared)))
            and all(guard in form for guard in anchor.guards)
        ]
        assert len(found) == 1


@pytest.mark.parametrize("secret", [SIGNS, MANY_SIGNS, SHORT])
def test_forms_that_differ_in_signs_are_found_by_what_they_share(secret: bytes) -> None:
    forms = sorted(forms_of(secret))
    assert len(forms) > 80
    assert len(anchors_of(forms)) <= 30


@given(_FEW, st.text("abc", max_size=12).map(str.encode))
def test_the_longest_form_in_a_place_is_found(forms: list[bytes], data: bytes) -> None:
    for start in range(len(data) + 1):
        expected = max((len(form) for form in forms if data.startswith(form, start)), default=0)
        assert Forms(forms).at(data, start) == expected


@given(_FEW, st.text("abc", max_size=5).map(str.encode))
def test_a_tail_that_a_form_goes_on_from_is_known(forms: list[bytes], tail: bytes) -> None:
    expected = any(form.startswith(tail) and form != tail for form in forms)
    assert Forms(forms).grow_from(tail) == expected


@given(st.binary(min_size=8, max_size=20).map(lambda raw: bytes(0x21 + byte % 94 for byte in raw)), st.data())
def test_what_stands_before_or_behind_an_anchor_is_compared(secret: bytes, data: st.DataObject) -> None:
    forms = sorted(forms_of(secret))
    form = bytearray(data.draw(st.sampled_from(forms)))
    form[data.draw(st.integers(0, len(form) - 1))] ^= data.draw(st.integers(1, 255))
    body = bytes(form)
    found = {
        span
        for anchor in anchors_of(forms)
        if (at := body.find(anchor.shared)) != -1
        for span in anchor.spans(body, at)
    }
    standing = [(at, other) for at in range(len(body)) for other in forms if body.startswith(other, at)]
    hidden = {place for at, other in standing for place in range(at, at + len(other))}
    assert {place for start, end in found for place in range(start, end)} == hidden
