"""Hosts, authorities and addresses: one spelling each."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.address import is_public, may_dial
from proxy.policy.host import HostPattern, MalformedHost, parse_authority, parse_host

spellings = st.text(st.sampled_from("aZ0.-_:[]%@/\x00\u00e9\uff11xn%f"), max_size=24) | st.text(max_size=24)


@given(spellings)
def test_a_host_is_read_or_malformed_and_reading_is_idempotent(text: str) -> None:
    try:
        host = parse_host(text)
    except MalformedHost:
        return
    assert host.name.isascii()
    assert host.name == host.name.lower()
    assert parse_host(host.url_form) == host


@given(spellings, st.sampled_from([None, 443]))
def test_an_authority_is_read_or_malformed_and_reading_is_idempotent(text: str, port: int | None) -> None:
    try:
        authority = parse_authority(text, port)
    except MalformedHost:
        return
    assert 0 < authority.port < 65536
    assert parse_authority(str(authority), None) == authority


@pytest.mark.parametrize(
    "text",
    [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "a.1",
        "[::1%lo]",
        "[::1",
        "::1",
        "a..b",
        "-a.example",
        "a-.example",
        "a b",
        "a\n",
        "bücher.example",
        "a" * 64 + ".example",
        "",
        ".",
        "a%2eb",
    ],
)
def test_no_other_spelling_is_a_host(text: str) -> None:
    if text == "127.0.0.1.":  # one trailing dot is dropped before anything else
        assert parse_host(text).address == ip_address("127.0.0.1")
        return
    with pytest.raises(MalformedHost):
        parse_host(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_no_rule_reaches_a_reserved_address_by_itself(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_a_rule_opens_what_it_names_and_nothing_translated_into_it() -> None:
    opened = [ip_network("10.0.0.0/8")]
    assert may_dial(ip_address("10.1.2.3"), opened)
    assert not may_dial(ip_address("::ffff:10.1.2.3"), opened)
    assert not may_dial(ip_address("192.168.0.1"), opened)


@pytest.mark.parametrize(
    ("left", "right", "covers", "overlaps"),
    [
        ("a.example", "a.example", True, True),
        ("a.example", "b.example", False, False),
        ("*.a.example", "b.a.example", True, True),
        ("*.a.example", "a.example", False, False),
        ("*.a.example", "*.b.a.example", True, True),
        ("*.b.a.example", "*.a.example", False, True),
        ("*.a.example", "*.xa.example", False, False),
    ],
)
def test_patterns(left: str, right: str, covers: bool, overlaps: bool) -> None:
    first, second = (HostPattern(text.removeprefix("*."), wildcard=text.startswith("*.")) for text in (left, right))
    assert first.covers(second) is covers
    assert first.overlaps(second) is overlaps
