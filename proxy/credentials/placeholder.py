"""Placeholders: the fakes that a sandbox holds instead of secrets.

Stateless: every worker that has the key computes the same fake, so nothing is stored or shared.
"""

import hmac
import json
import string
from collections.abc import Collection
from functools import lru_cache

from proxy.credentials.providers import GENERIC_SHAPE, provider_of
from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec
from proxy.policy.rules import Policy

MARK = "outgate"
"""The word that each placeholder holds, so that one search tells whether a head can hold any. A literal value too."""

_BASE62 = string.digits + string.ascii_letters


@lru_cache(maxsize=4096)
def placeholder(key: bytes, sandbox: str, policy: str, spec: CredentialSpec) -> str:
    """The fake for one credential of one policy in one sandbox: shaped like the provider's key, at least 172 bits.

    It is HMAC-SHA256 under `key` (secret, at least 32 random bytes) of the three names. Raises `ConfigError` for an
    unknown provider.
    """
    provider = provider_of(spec)
    shape = GENERIC_SHAPE if provider is None else provider.shape
    named = json.dumps(["outgate placeholder 1", sandbox, policy, spec.name]).encode()
    return shape.prefix + _base62(hmac.digest(key, named, "sha256"), shape.tail)


def placeholders(key: bytes, sandbox: str, policy: Policy, taken: Collection[str]) -> dict[str, str]:
    """The fakes of a policy's credentials in one sandbox, by the variable that they stand in.

    Raises `ConfigError` for a variable that is `taken`.
    """
    found: dict[str, str] = {}
    for spec in policy.credentials.values():
        variable = spec.placeholder
        if variable is None:
            continue
        if variable in taken:
            raise ConfigError(
                f"the placeholder of the credential {spec.name} needs {variable}, which is in use",
                "give the credential another variable",
                policy.source,
            )
        found[variable] = placeholder(key, sandbox, policy.name, spec)
    return found


def _base62(digest: bytes, length: int) -> str:
    number = int.from_bytes(digest)
    characters = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        characters.append(_BASE62[digit])
    return "".join(characters)
