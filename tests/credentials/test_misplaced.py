"""A placeholder on its way to a host that its credential is not bound to is seen, in every encoding of a head."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.inject import find_misplaced
from proxy.credentials.placeholder import placeholder
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern, parse_host

SPECS = {
    "one": CredentialSpec("one", "env:ONE", (HostPattern("one.example"),), inject=Inject(bearer=True)),
    "two": CredentialSpec("two", "env:TWO", (HostPattern("two.example", wildcard=True),), provider="github"),
}
FAKES = {name: placeholder(b"k" * 32, "box", "policy", spec) for name, spec in SPECS.items()}
ONE, TWO = FAKES["one"], FAKES["two"]


def find(*pairs: tuple[str, str], target: str = "/", host: str = "evil.example") -> str | None:
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in pairs)
    return find_misplaced(FAKES, SPECS, headers, target, parse_host(host))


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def percent(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


CARRIERS = [
    [("Authorization", f"Bearer {ONE}")],
    [("x-anything", f"prefix{ONE}suffix")],
    [("Cookie", f"a={ONE}")],
    [("Referer", f"https://a.example/?k={percent(ONE)}")],
    [("Referer", "https://a.example/?k=" + ONE.replace("o", "%6F"))],
    [("Authorization", "Basic " + basic(f"user:{ONE}"))],
    [("Authorization", "basic\t" + basic(f"{ONE}:"))],
    [("Authorization", "Basic " + basic(f"user:{ONE}").rstrip("="))],
    [("X-Forwarded-Authorization", "Basic " + basic(ONE))],
    [("Authorization", f"Bearer {TWO}"), ("x", ONE)],
]


@pytest.mark.parametrize("pairs", CARRIERS)
def test_a_placeholder_in_a_header_is_seen(pairs: list[tuple[str, str]]) -> None:
    assert find(*pairs, host="a.two.example") == "one"
    assert find(*pairs) in FAKES


@pytest.mark.parametrize("pairs", CARRIERS[:-1])
def test_at_its_own_host_it_is_in_place(pairs: list[tuple[str, str]]) -> None:
    assert find(*pairs, host="one.example") is None


@pytest.mark.parametrize(
    "target",
    [
        f"/?k={ONE}",
        f"/{ONE}/x",
        f"/?k={percent(ONE)}",
        f"/?{quote(ONE)}",
        f"/?a=1&b=x%20{ONE}",
        f"/?{ONE[:9]}%{ord(ONE[9]):x}{ONE[10:]}",
    ],
)
def test_a_placeholder_in_the_target_is_seen(target: str) -> None:
    assert find(target=target) == "one"
    assert find(target=target, host="one.example") is None


def test_a_wildcard_binding_holds_for_its_hosts_only() -> None:
    assert find(("Authorization", f"token {TWO}"), host="api.two.example") is None
    assert find(("Authorization", f"token {TWO}"), host="two.example") == "two"


def test_a_placeholder_without_a_spec_is_bound_nowhere() -> None:
    assert find_misplaced(FAKES, {}, (), f"/{ONE}", parse_host("one.example")) == "one"


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("Authorization", "Bearer outgate")],
        [("Authorization", "Basic " + basic("outgate:outgate"))],
        [("Authorization", "Basic !!!")],
        [("Authorization", "Basic")],
        [("User-Agent", "outgate/1.0 (100%)")],
        [("x", ONE[:-1])],
        [("x", "\xff%ff")],
    ],
)
def test_other_heads_hold_none(pairs: list[tuple[str, str]]) -> None:
    assert find(*pairs) is None


def test_without_placeholders_there_is_nothing_to_find() -> None:
    assert find_misplaced({}, SPECS, ((b"x", ONE.encode()),), "/", parse_host("evil.example")) is None


@given(st.binary(max_size=80), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80))
def test_no_head_is_an_error(value: bytes, target: str) -> None:
    for name in (b"authorization", b"x"):
        headers = ((name, value), (name, b"Basic " + value))
        assert find_misplaced(FAKES, SPECS, headers, "/" + target, parse_host("evil.example")) is None
