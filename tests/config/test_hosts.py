"""Host patterns and networks, as text."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.hosts import read_host, read_network
from proxy.config.wrong import Wrong
from proxy.policy.host import HostPattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("api.example.com", HostPattern("api.example.com")),
        ("*.example.com", HostPattern("example.com", wildcard=True)),
        ("*.deep.example.co.uk", HostPattern("deep.example.co.uk", wildcard=True)),
        ("localhost", HostPattern("localhost")),
        ("_service.example.com", HostPattern("_service.example.com")),
        ("xn--mnchen-3ya.de", HostPattern("xn--mnchen-3ya.de")),
        ("*.svc.cluster.local", HostPattern("svc.cluster.local", wildcard=True)),
        ("*.readthedocs.io", HostPattern("readthedocs.io", wildcard=True)),
        ("my-project.github.io", HostPattern("my-project.github.io")),
        ("*.my-project.github.io", HostPattern("my-project.github.io", wildcard=True)),
    ],
)
def test_a_host_pattern_is_a_name_or_a_wildcard_in_front_of_one(text: str, pattern: HostPattern) -> None:
    assert read_host(text) == pattern


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "not a host name", "api.example.com"),
        ("a b", "not a host name", "api.example.com"),
        ("https://api.example.com", "no scheme", "hosts: [api.example.com]"),
        ("https://u@API.example.com:8443/x", "no scheme", "hosts: [api.example.com];"),
        ("http://", "no scheme", "hosts: [api.example.com]"),
        ("api.example.com/v1/x", "no path", "hosts: [api.example.com] and paths: [/v1/x]"),
        ("api.example.com:8443", "no port", "hosts: [api.example.com] and ports: [8443]"),
        ("*.example.com:8443", "no port", 'hosts: ["*.example.com"] and ports: [8443]'),
        ("api.example.com:x", "no port", "ports: [8443]"),
        ("user@api.example.com", "no user name", "hosts: [api.example.com]"),
        ("API.Example.com", "lower case", "`api.example.com`"),
        ("*.Example.com", "lower case", '"*.example.com"'),
        ("api.example.com.", "trailing dot", "`api.example.com`"),
        ("münchen.de", "IDNA", "`xn--mnchen-3ya.de`"),
        ("straße.de", "IDNA", "its `xn--` form"),
        ("*", "wildcard", '"*.example.com"'),
        ("**.example.com", "wildcard", '"*.example.com"'),
        ("*example.com", "wildcard", '"*.example.com"'),
        ("api.*.com", "wildcard", '"*.example.com"'),
        ("api-*.example.com", "wildcard", '"*.example.com"'),
        ("*.*.example.com", "wildcard", '"*.example.com"'),
        (".example.com", "wildcard", '"*.example.com"'),
        ("a..b.com", "not a host name", "api.example.com"),
        ("-a.example.com", "not a host name", "api.example.com"),
        ("a" * 64 + ".com", "not a host name", "api.example.com"),
        ("*.com", "public suffix", "my-project.com"),
        ("*.co.uk", "public suffix", "my-project.co.uk"),
        ("*.github.io", "public suffix", "my-project.github.io"),
        ("*.blob.core.windows.net", "public suffix", "my-project"),
        ("*.ck", "public suffix", "my-project.ck"),
        ("*.compute.amazonaws.com", "public suffix", "my-project"),
        ("*.internal", "public suffix", "my-project.internal"),
        ("10.1.2.3", "an IP address is not a host", "addresses: [10.1.2.3]"),
        ("*.10.1.2.3", "an IP address is not a host", "addresses: [10.1.2.3]"),
        ("10.1.2.0/24", "a network is not a host", "addresses: [10.1.2.0/24]"),
        ("[::1]", "an IP address is not a host", 'addresses: ["::1"]'),
        ("fd00::1", "an IP address is not a host", 'addresses: ["fd00::1"]'),
        ("2130706433", "spelling of an IP address", "addresses"),
        ("0x7f000001", "spelling of an IP address", "addresses"),
        ("127.1", "spelling of an IP address", "addresses"),
    ],
)
def test_any_other_host_is_refused_with_the_right_form(text: str, message: str, hint: str) -> None:
    with pytest.raises(Wrong) as caught:
        read_host(text)

    assert message in caught.value.message
    assert hint in caught.value.hint


@given(st.text(max_size=40) | st.from_regex(r"[*.a-zA-Z0-9:/@\[\]-]{0,20}"))
def test_a_host_is_read_or_refused_and_never_repaired(text: str) -> None:
    pattern = said = None
    try:
        pattern = read_host(text)
    except Wrong as wrong:
        said = wrong

    assert str(pattern) == text if said is None else (said.hint and said.message.isprintable())


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.2.0/24", "10.1.2.0/24"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("fd00:1::/64", "fd00:1::/64"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_network_is_exact_and_a_bare_address_is_one_host(text: str, network: str) -> None:
    assert read_network(text) == ip_network(network)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("10.1.2.3/24", "bits set", "`10.1.2.0/24` for the network or `10.1.2.3` for one"),
        ("fd00::1/64", "bits set", "`fd00::/64`"),
        ("10.1.2.0/255.255.255.0", "not an address", "10.1.2.0/24"),
        ("10.1.2.0/33", "not an address", "10.1.2.0/24"),
        ("010.1.2.3", "not an address", "10.1.2.3"),
        ("fe80::1%eth0", "not an address", "fd00:1::/64"),
        ("[::1]", "not an address", "fd00:1::/64"),
        ("api.example.com", "not an address", "`hosts`"),
        ("", "not an address", "10.1.2.3"),
    ],
)
def test_any_other_network_is_refused_with_the_right_form(text: str, message: str, hint: str) -> None:
    with pytest.raises(Wrong) as caught:
        read_network(text)

    assert message in caught.value.message
    assert hint in caught.value.hint


@given(st.text(max_size=30) | st.from_regex(r"[0-9a-f:./]{0,20}"))
def test_a_network_is_read_or_refused(text: str) -> None:
    network = said = None
    try:
        network = read_network(text)
    except Wrong as wrong:
        said = wrong

    assert said.hint if said else network is not None
