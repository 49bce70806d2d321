"""The sandbox's fakes: always the same, different for each sandbox, policy and credential, of the right shape."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.placeholder import MARK, placeholder
from proxy.credentials.providers import PROVIDERS, provider_named
from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern

KEY = b"k" * 32
GENERIC = CredentialSpec("one", "env:ONE", (HostPattern("api.example.com"),), inject=Inject(bearer=True))


def of(provider: str) -> CredentialSpec:
    return replace(GENERIC, provider=provider, inject=None)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (of("anthropic"), r"sk-ant-api03-outgate-[0-9A-Za-z]{43}"),
        (of("openai"), r"sk-proj-outgate-[0-9A-Za-z]{43}"),
        (of("github"), r"ghu_outgate[0-9A-Za-z]{29}"),
        (GENERIC, r"outgate_[0-9A-Za-z]{43}"),
    ],
)
def test_a_fake_has_the_shape_of_the_real_key(spec: CredentialSpec, shape: str) -> None:
    assert re.fullmatch(shape, placeholder(KEY, "box", "policy", spec))


def test_githubs_fake_is_as_long_as_a_real_token() -> None:
    assert re.fullmatch(r"gh[pousr]_[A-Za-z0-9]{36}", placeholder(KEY, "box", "policy", of("github")))


def test_the_same_names_always_give_the_same_fake() -> None:
    assert placeholder(KEY, "box", "policy", GENERIC) == placeholder(KEY, "box", "policy", replace(GENERIC))
    # Fixed for all workers and versions: sandboxes keep their environment over a restart of the proxy.
    assert placeholder(KEY, "box", "policy", GENERIC) == "outgate_B2ID9IHeLgfTjK9i3OUgJPFZ5DuqTSqh4LdJnejB1RA"


def test_each_name_and_the_key_change_the_fake() -> None:
    fakes = {
        placeholder(KEY, "box", "policy", GENERIC),
        placeholder(b"j" * 32, "box", "policy", GENERIC),
        placeholder(KEY, "box2", "policy", GENERIC),
        placeholder(KEY, "box", "policy2", GENERIC),
        placeholder(KEY, "box", "policy", replace(GENERIC, name="two")),
        placeholder(KEY, "boxpol", "icy", GENERIC),
        placeholder(KEY, 'box", "policy', "", GENERIC),
    }
    assert len(fakes) == 7


@given(st.text(), st.text(), st.text(), st.sampled_from([None, *PROVIDERS]))
def test_every_fake_holds_the_mark_and_can_be_a_header(sandbox: str, policy: str, name: str, known: str | None) -> None:
    spec = replace(GENERIC, name=name) if known is None else replace(of(known), name=name)
    fake = placeholder(KEY, sandbox, policy, spec)
    assert MARK in fake
    assert re.fullmatch(r"[0-9A-Za-z_-]+", fake)


def test_an_unknown_provider_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        provider_named("anthropics")
    assert caught.value.problems[0].hint == (
        "did you mean anthropic? known are anthropic, github, openai; or use `inject`"
    )
    with pytest.raises(ConfigError, match="not a known provider"):
        placeholder(KEY, "box", "policy", of("acme"))
