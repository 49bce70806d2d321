"""Addresses as configurations write them: what a rule can name, and what is not repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.starter.place import Unusable, read_address, read_remote


@pytest.mark.parametrize(
    ("text", "place", "login"),
    [
        ("https://a.example.com", "https://a.example.com", False),
        ("https://A.Example.COM.:443/x/", "https://a.example.com/x", False),
        ("http://a.example.com:8081/x/y", "http://a.example.com:8081/x/y", False),
        ("https://user:pass@a.example.com/x", "https://a.example.com/x", True),
        ("https://token@a.example.com/x", "https://a.example.com/x", True),
        ("https://a.example.com/x?key=value", "https://a.example.com/x", True),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x", False),
        (
            "https://a.example.com/api/v4/projects/17/packages",
            "https://a.example.com/api/v4/projects/17/packages",
            False,
        ),
        ("https://a.example.com/kT7xQ2mP9vB4nR8s/simple", "https://a.example.com/*/simple", True),
        ("https://a.example.com/abcdefghijklmnopqrstuvw/simple", "https://a.example.com/*/simple", True),
    ],
)
def test_an_address(text: str, place: str, login: bool) -> None:
    address = read_address(text)
    assert (str(address.place), address.login) == (place, login)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/srv/wheels",
        "file:///srv/wheels",
        "ftp://a.example.com/",
        "https://",
        "https://a b.example.com/",
        "https://a.example.com:0/",
        "https://user:12/34@a.example.com/",
        "https://user:12#34@a.example.com/",
        "https://user:12?34@a.example.com/",
        "https://user:12/34%40a.example.com/",
        "https://2130706433/",
        "https://*.example.com/",
        "https://localhost:8081/",
        "http://127.0.0.1:3141/",
        "http://[::1]:3141/",
        "https://münchen.example.com/",
        "https://a.example.com/\x1b[31m",
        "https://a.example.com/a/../b",
        "https://a.example.com/*/b",
        "https://a.example.com/%2e%2e/b",
        "https://a.example.com/" + "x" * 3000,
        "https://[::1",
    ],
)
def test_an_address_that_makes_no_rule(text: str) -> None:
    with pytest.raises(Unusable) as raised:
        read_address(text)
    assert "34" not in str(raised.value)
    assert "example" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "place", "ssh", "login"),
    [
        ("https://git.example.com/acme/app.git", "https://git.example.com/acme/app.git", False, False),
        ("https://git.example.com/acme/app/", "https://git.example.com/acme/app", False, False),
        (
            "https://u:p@git.example.com/acme/app1234567890abcdef",
            "https://git.example.com/acme/app1234567890abcdef",
            False,
            True,
        ),
        ("git@git.example.com:acme/app.git", "https://git.example.com/acme/app.git", True, False),
        ("git.example.com:acme/app.git", "https://git.example.com/acme/app.git", True, False),
        ("ssh://git@git.example.com:2222/acme/app.git", "https://git.example.com/acme/app.git", True, False),
    ],
)
def test_a_remote(text: str, place: str, ssh: bool, login: bool) -> None:
    address, is_ssh = read_remote(text)
    assert (str(address.place), is_ssh, address.login) == (place, ssh, login)


@pytest.mark.parametrize(
    "text", ["/srv/app.git", "../app", "https://git.example.com/", "ext::sh -c x", "git://git.example.com/x"]
)
def test_a_remote_that_makes_no_rule(text: str) -> None:
    with pytest.raises(Unusable):
        read_remote(text)


CREDENTIALS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=20)


@given(CREDENTIALS, CREDENTIALS)
def test_no_half_of_a_login_survives(user: str, password: str) -> None:
    secret = f"q7{password}7q"
    for read in (read_address, read_remote):
        try:
            said = str(read(f"https://{user}:{secret}@a.example.com/x"))
        except Unusable as unusable:
            said = str(unusable)
        assert secret not in said
        assert secret[:8] not in said or secret[:8] in "https://a.example.com/x"
