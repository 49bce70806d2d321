"""What a policy says about a credential: where it comes from, where it may go, how it is sent. Never its value."""

from dataclasses import dataclass

from proxy.policy.host import Host, HostPattern


@dataclass(frozen=True, slots=True)
class Inject:
    """Where a secret goes in a request: exactly one of `header`, `bearer`, `basic` (a user name) and `query` (a key).

    `format` belongs to `header` and holds `{secret}`.
    """

    header: str | None = None
    format: str = "{secret}"
    bearer: bool = False
    basic: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class CredentialSpec:
    """One entry of `credentials`. Exactly one of `provider` and `inject` is set.

    `source` is the text of `from`, for example `env:GITHUB_TOKEN`; `placeholder` the sandbox's variable, if any.
    """

    name: str
    source: str
    hosts: tuple[HostPattern, ...]
    provider: str | None = None
    inject: Inject | None = None
    placeholder: str | None = None
    replace_client_credentials: bool = False

    def __hash__(self) -> int:
        # Enough to tell them apart: what is known of a credential is looked up in every request that gets it.
        return hash((self.name, self.source))

    def bound_to(self, host: Host) -> bool:
        """Whether the secret may travel to the host."""
        return any(pattern.matches(host) for pattern in self.hosts)
