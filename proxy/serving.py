"""What requests are judged by: the policies and the stores of their secrets, one value that is replaced as a whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from proxy.credentials.masks import Masks
from proxy.credentials.sources import Readings, SecretStore
from proxy.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Serving:
    """Policies and their secrets, both by the policy's name. One exchange sees one of these from its head to its end,
    so that no secret is ever sent under the binding of another policy. `masks` are for the answers, of all of them.
    """

    policies: Mapping[str, Policy]
    secrets: Mapping[str, SecretStore]
    masks: Masks

    @classmethod
    def read(cls, policies: Iterable[Policy], environ: Mapping[str, str]) -> Self:
        """Serve these policies, with every secret read once. Raises `ConfigError` for secrets that cannot be read."""
        by_name = {policy.name: policy for policy in policies}
        readings = Readings(environ)
        secrets = {name: SecretStore(policy.credentials, environ, readings) for name, policy in by_name.items()}
        for store in secrets.values():
            store.load_all()
        specs = (spec for policy in by_name.values() for spec in policy.credentials.values())
        return cls(by_name, secrets, Masks(specs, readings))

    def after(self, former: Self) -> Self:
        """This, with the masks knowing what was in force before: hosts can still hand it back."""
        if former is not self:
            self.masks.take_over(former.masks)
        return self
