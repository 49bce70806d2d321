"""Providers: the known services. How each takes a credential, and what its fake looks like.

The slots that these services share with others are in `slots`; here is only what is their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Host

BEARER = Inject(bearer=True)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fake looks like: `prefix`, which holds the word outgate, then `tail` base62 characters."""

    prefix: str
    tail: int


@dataclass(frozen=True, slots=True)
class Provider:
    """A known service. `forms` are the ways it takes a credential, the default first.

    `default_at` is the default by host name, `queries` are its own authentication keys in the query, `variable` is
    the environment variable that its clients read.
    """

    name: str
    forms: tuple[Inject, ...]
    variable: str
    shape: Shape
    default_at: Mapping[str, Inject] = field(default_factory=lambda: MappingProxyType({}))
    queries: frozenset[str] = frozenset()


_GITHUB_BASIC = Inject(basic="x-access-token")

# The prefix is what clients look at. The tails of the first two are shorter than the real keys', so that a secret
# scanner does not take a fake for a leak; GitHub's is of the real length, because tools check it.
_ALL = (
    Provider(
        name="anthropic",
        # docs.anthropic.com, "API overview": x-api-key; newer SDKs send the same key as a bearer token.
        forms=(Inject(header="x-api-key"), BEARER),
        variable="ANTHROPIC_API_KEY",
        shape=Shape("sk-ant-api03-outgate-", 43),
    ),
    Provider(
        name="openai",
        # platform.openai.com, "API reference, authentication". The WebSocket subprotocol is in `slots`.
        forms=(BEARER,),
        variable="OPENAI_API_KEY",
        shape=Shape("sk-proj-outgate-", 43),
    ),
    Provider(
        name="github",
        # docs.github.com, "Authenticating to the REST API" (Bearer or token) and "Authenticating as an
        # installation" (git: Basic with the user x-access-token).
        forms=(BEARER, Inject(header="authorization", format="token {secret}"), _GITHUB_BASIC),
        variable="GITHUB_TOKEN",
        # Not ghp_: some of GitHub's own clients refuse classic personal tokens before they send anything.
        shape=Shape("ghu_outgate", 29),
        default_at=MappingProxyType({"github.com": _GITHUB_BASIC, "gist.github.com": _GITHUB_BASIC}),
        queries=frozenset({"access_token"}),
    ),
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType({provider.name: provider for provider in _ALL})

GENERIC_SHAPE = Shape("outgate_", 43)


def provider_named(name: str) -> Provider:
    """Look up a provider. Raises `ConfigError` that names the known ones."""
    if name in PROVIDERS:
        return PROVIDERS[name]
    close = get_close_matches(name, PROVIDERS, n=1)
    known = f"did you mean {close[0]}? " if close else ""
    raise ConfigError("not a known provider", f"{known}known are {', '.join(sorted(PROVIDERS))}; or use `inject`")


def provider_of(spec: CredentialSpec) -> Provider | None:
    """The provider of a credential, None for one that says with `inject` where it goes. Raises `ConfigError`."""
    return None if spec.provider is None else provider_named(spec.provider)


def forms_of(spec: CredentialSpec, host: Host) -> tuple[Inject, ...]:
    """The ways to send the credential to the host, the default first."""
    provider = provider_of(spec)
    if provider is None:
        if spec.inject is None:
            raise ConfigError(f"credential {spec.name} has neither `provider` nor `inject`", "name one of them")
        return (spec.inject,)
    default = provider.default_at.get(host.name, provider.forms[0])
    return (default, *(form for form in provider.forms if form != default))
