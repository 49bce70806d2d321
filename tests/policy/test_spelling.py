"""What counts as one name: idempotent, and one folding for conditions of rules, for slots and for header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.query import Query, may_name_method
from proxy.policy.spelling import folded_field, folded_name, folded_text

names = st.one_of(
    st.text(st.sampled_from("state[]. -_?$%u0073\x00\u0130\u0131\u200b\uff53\ufffd"), max_size=10), st.text(max_size=8)
)


@given(names)
def test_both_foldings_are_idempotent(name: str) -> None:
    assert folded_name(folded_name(name)) == folded_name(name)
    assert folded_text(folded_text(name)) == folded_text(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "state",
            "STATE",
            " state ",
            "state[]",
            "state[a][b]",
            "[state]",
            "[[state]]",
            "][state",
            "[state][]",
            "?state",
        ),
        *("\uff53tate", "st\u00adate", "state\u200b"),
    ],
)
def test_what_some_server_takes_for_the_same_name(name: str) -> None:
    assert folded_name(name) == "state"


@pytest.mark.parametrize("name", ["api_key", "api-key", "api.key", "api key", "API~Key", "api$key", "[api.key]"])
def test_each_sign_is_the_same(name: str) -> None:
    assert folded_name(name) == "api_key"


@pytest.mark.parametrize("name", ["", "[]", " ", "a[b", "st\0ate", "state\r", "%u0073tate", "st%61te", "gr\ufffd"])
def test_what_could_be_any_name_has_none(name: str) -> None:
    assert folded_name(name) == ""


@pytest.mark.parametrize("name", ["estate", "states", "stat\u0113", "_state", "$state", "\u0455tate"])
def test_another_name_is_another_name(name: str) -> None:
    assert folded_name(name) != "state"


@given(st.binary(max_size=80))
def test_a_field_is_folded_as_a_key_is(name: bytes) -> None:
    assert folded_field(name) == folded_name(name.decode("latin-1"))


WANTED = (("state", "open"),)
raws = st.lists(st.tuples(names, st.sampled_from(["open", "closed", "%u006fpen", ""])), max_size=4).map(
    lambda pairs: "&".join(f"{key}={value}" for key, value in pairs)
)


@given(raws, st.sampled_from(["&", ";"]), raws)
def test_a_pair_more_takes_no_deny_away_and_gives_no_second_meaning(raw: str, between: str, more: str) -> None:
    both = Query(raw + between + more)
    if Query(raw).denied(WANTED) and between == "&" and ";" not in raw:
        assert both.denied(WANTED)
    if both.matches(WANTED):
        assert both.denied(WANTED)


@pytest.mark.parametrize(
    "second", ["[state]", "%5Bstate%5D", "%u0073tate", "%2573tate", "state%E2%80%8B", "%EF%BD%93tate"]
)
def test_a_second_spelling_takes_the_meaning_away(second: str) -> None:
    assert not Query(f"state=open&{second}=closed").matches(WANTED)
    assert Query(f"{second}=open").denied(WANTED)


def test_a_value_that_is_decoded_once_more_is_denied_too() -> None:
    assert Query("state=%u006fpen").denied(WANTED)
    assert not Query("state=%u006fpen").matches(WANTED)


@pytest.mark.parametrize(
    ("raw", "methods"),
    [
        ("", set()),
        ("method=any&q=a%20b", set()),
        ("method=flickr.photos.delete", set()),
        ("method=", set()),
        ("method=delete&q=a%20b", {"DELETE"}),
        ("method=D%20ELETE", {"DELETE"}),
        ("Method=%EF%BC%A4ELETE", {"DELETE"}),
        ("http_method=%22PUT%22", {"PUT"}),
        ("http_method=archive", set()),
        ("http_method=delete%00d", {"DELETE"}),
        ("X-Tunneled-Method=DELETE", {"DELETE"}),
        ("_method=delete", {"DELETE"}),
        ("a=1;%5Fmethod=PUT", {"PUT"}),
        ("$httpMethod=DELETE", {"DELETE"}),
        ("%24HTTPMethod=PATCH", {"PATCH"}),
        ("X-HTTP-Method-Override=PUT", {"PUT"}),
        ("%u005fmethod=DELETE", {"DELETE"}),
    ],
)
def test_a_query_can_name_a_method(raw: str, methods: set[str]) -> None:
    assert Query(raw).methods == methods
    assert may_name_method(raw) or not methods


@pytest.mark.parametrize(
    ("raw", "unclear"),
    [
        ("_method=DELETE%00", True),
        ("_method=%22DELETE%22", True),
        ("_method=D%20ELETE", True),
        ("_method=%EF%BC%A4ELETE", True),
        ("_method=%u0044ELETE", True),
        ("_method=PUT;x=1", True),
        ("x-tunneled-method=DELETE%0A%00", True),
        ("a=1&%5Fmethod=no%20method", True),
        ("_method=%20delete%20", False),
        ("_method=", False),
        ("_method", False),
        ("method=no%20method", False),
        ("http_method=a.b", False),
        ("%00=D%20ELETE", False),
    ],
)
def test_a_method_that_servers_read_differently_is_no_method(raw: str, unclear: bool) -> None:
    assert Query(raw).unclear_method is unclear
