"""What requests are judged by: the policies and the stores of their secrets, one value that is replaced as a whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from proxy.credentials.sources import SecretStore
from proxy.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Serving:
    """Policies and their secrets, both by the policy's name. One exchange sees one of these from its head to its end,
    so that no secret is ever sent under the binding of another policy.
    """

    policies: Mapping[str, Policy]
    secrets: Mapping[str, SecretStore]

    @classmethod
    def read(cls, policies: Iterable[Policy], environ: Mapping[str, str]) -> Self:
        """Serve these policies, with every secret read once. Raises `ConfigError` for secrets that cannot be read."""
        by_name = {policy.name: policy for policy in policies}
        secrets = {name: SecretStore(policy.credentials, environ) for name, policy in by_name.items()}
        for store in secrets.values():
            store.load_all()
        return cls(by_name, secrets)
