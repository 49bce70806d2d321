"""Addresses to listen on, and mappings of destinations."""

import contextlib
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.endpoint import ConnectTo, Listen
from proxy.policy.host import Host

# --- listen ---


@pytest.mark.parametrize(
    ("text", "shown", "loopback"),
    [
        ("127.0.0.1:8899", "127.0.0.1:8899", True),
        ("127.9.9.9:0", "127.9.9.9:0", True),
        ("localhost:1", "127.0.0.1:1", True),
        ("[::1]:65535", "[::1]:65535", True),
        ("0.0.0.0:80", "0.0.0.0:80", False),
        ("[::]:80", "[::]:80", False),
        ("10.0.0.1:80", "10.0.0.1:80", False),
    ],
)
def test_an_address_to_listen_on(text: str, shown: str, loopback: bool) -> None:
    listen = Listen.parse(text)
    assert str(listen) == shown
    assert Listen.parse(shown) == listen
    assert listen.loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:80",
        "[]:80",
        "[127.0.0.1]:80",
        "host.example:80",
        "[::1%lo]:80",
        "127.1:80",
        "127.0.0.1:٨",
        " 127.0.0.1:80",
        "http://1.1.1.1:1",
    ],
)
def test_what_is_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(ValueError, match=r"not ADDRESS:PORT|not an IP address|brackets"):
        Listen.parse(text)


@given(st.text(max_size=60))
def test_no_text_does_more_than_parse_or_raise(text: str) -> None:
    for parse in (Listen.parse, ConnectTo.parse):
        with contextlib.suppress(ValueError):
            parse(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_makes_the_round_trip(address: Any, port: int) -> None:
    listen = Listen(address, port)
    if getattr(address, "scope_id", None) is None:
        assert Listen.parse(str(listen)) == listen


# --- connect-to ---


@pytest.mark.parametrize(
    ("text", "key", "target"),
    [
        ("api.example.com:443:127.0.0.1:8443", ("api.example.com", 443), ("127.0.0.1", 8443)),
        ("API.Example.com.:443:127.0.0.1:8443", ("api.example.com", 443), ("127.0.0.1", 8443)),
        ("a.example:443:[::1]:8443", ("a.example", 443), ("::1", 8443)),
        ("[2001:DB8::1]:443:10.0.0.1:1", ("2001:db8::1", 443), ("10.0.0.1", 1)),
        ("192.0.2.1:443:[2001:db8::2]:1", ("192.0.2.1", 443), ("2001:db8::2", 1)),
    ],
)
def test_a_mapping(text: str, key: tuple[str, int], target: tuple[str, int]) -> None:
    mapping = ConnectTo.parse(text)
    assert mapping.key == key
    assert (str(mapping.address), mapping.address_port) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not HOST:PORT:ADDR:PORT"),
        ("a:443:127.0.0.1", "not HOST:PORT:ADDR:PORT"),
        ("::127.0.0.1:8443", "not HOST:PORT:ADDR:PORT"),  # curl's form for any host
        (":443:127.0.0.1:8443", "not HOST:PORT:ADDR:PORT"),
        ("a:443::8443", "not HOST:PORT:ADDR:PORT"),
        ("a:443:::1:8443", "not HOST:PORT:ADDR:PORT"),
        ("a:443:127.0.0.1:8443:x", "not HOST:PORT:ADDR:PORT"),
        ("a:0:127.0.0.1:8443", "not a port"),
        ("a:443:127.0.0.1:0", "not a port"),
        ("a:65536:127.0.0.1:1", "not a port"),
        ("a:443:b.example:8443", "must be an IP address"),
        ("a:443:127.1:8443", "not a host name or IP address"),
        ("*.example.com:443:127.0.0.1:1", "not a host name"),
        ("a b:443:127.0.0.1:1", "not HOST:PORT:ADDR:PORT"),
        ("é.example:443:127.0.0.1:1", "not a host name"),
    ],
)
def test_what_is_no_mapping(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ConnectTo.parse(text)


def test_a_mapping_is_a_plain_value() -> None:
    mapping = ConnectTo.parse("a.example:1:127.0.0.1:2")
    assert mapping == ConnectTo(Host("a.example"), 1, ipaddress.ip_address("127.0.0.1"), 2)


@pytest.mark.parametrize(
    ("listens", "address", "reached"),
    [
        ("127.0.0.1:1", "127.0.0.1", True),
        ("127.0.0.1:1", "::ffff:127.0.0.1", True),
        ("127.0.0.1:1", "0.0.0.0", True),
        ("127.0.0.1:1", "::", True),
        ("127.0.0.1:1", "127.0.0.2", False),
        ("127.0.0.1:1", "192.0.2.1", False),
        ("[::1]:1", "::1", True),
        ("[::1]:1", "127.0.0.1", False),
        ("0.0.0.0:1", "127.0.0.2", True),
        ("0.0.0.0:1", "192.0.2.1", False),
        ("[::]:1", "127.0.0.1", True),
    ],
)
def test_which_addresses_lead_to_what_listens(listens: str, address: str, reached: bool) -> None:
    assert Listen.parse(listens).reached_by(ipaddress.ip_address(address)) is reached
