"""What a deny pattern takes for the same: spellings that a server could, and no others."""

import pytest

from proxy.policy.path import parse_pattern, read_path

ADMIN = parse_pattern("/admin/**")


@pytest.mark.parametrize(
    "path",
    [
        "/ADMIN",
        "/adm%C4%B1n",  # dotless i, whose capital is I
        "/ADM%C4%B0N",  # dotted capital I, whose small letter is i
        "/ad%C2%ADmin",  # soft hyphen
        "/ad%E2%80%8Dmin",  # zero-width joiner
        "/ad%E2%80%8Bmin",  # zero-width space
        "/%EF%BB%BFadmin",  # byte order mark
        "/admin%EF%B8%8F",  # variation selector
        "/admin%F3%A0%80%A0/x",  # a tag
        "/%EF%BD%81dmin",  # full width
        "/admin.%C2%AD/x",  # a dot at the end, and nothing shown after it
    ],
)
def test_what_some_server_takes_for_the_same_is_denied(path: str) -> None:
    assert ADMIN.denies(read_path(path))


@pytest.mark.parametrize("path", ["/adm%C3%AFn", "/admin-x", "/admon", "/adm%D1%96n", "/admin::$DATA"])
def test_what_is_another_word_is_not(path: str) -> None:
    assert not ADMIN.denies(read_path(path))


def test_a_pattern_is_folded_as_a_path_is() -> None:
    for word in ("%C4%B1stanbul", "%C4%B0stanbul", "stra%C3%9Fe", "%CE%A3%CE%B1%CF%82"):
        assert parse_pattern(f"/{word}").denies(read_path(f"/{word}"))
