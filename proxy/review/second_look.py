"""What deserves a second look in a proposed rule, and which known service a host belongs to."""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from proxy.policy.address import is_public
from proxy.policy.host import Host
from proxy.review.lint_rules import only_fetches
from proxy.review.proposal import USUAL, Proposed
from proxy.review.risky import OPEN, SHARED

MANY_HOSTS = 5  # hosts of one domain, from which a wildcard is worth a thought

# The hosts of the providers that `proxy.credentials.providers` knows, as far as clients use them with a key.
_PROVIDER_AT = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "api.github.com": "github",
    "github.com": "github",
    "uploads.github.com": "github",
}


def provider_at(host: Host) -> str | None:
    """The provider whose host this is, None for all others."""
    return _PROVIDER_AT.get(host.name) if host.address is None else None


def mark(rule: Proposed) -> list[str]:
    """What can be said of one rule from itself, a clause each."""
    found = []
    if rule.tunnel:
        found.append("a tunnel: nothing inside it is checked or recorded")
    if rule.methods:
        found.append(
            "POST, but only as `git fetch` sends it" if fetches(rule) else f"write access: {', '.join(rule.methods)}"
        )
    if rule.scheme == "http":
        found.append("plain http: whoever is on the way can read and change it")
    if rule.port != USUAL[rule.scheme]:
        found.append(f"port {rule.port} is not the usual one")
    if rule.host.address is not None:
        public = is_public(rule.host.address)
        found.append("an address instead of a name" if public else "this opens a private address")
    elif (what := _user_content(rule.host)) is not None:
        found.append(f"is this name yours? {what}")
    return found


def fetches(rule: Proposed) -> bool:
    """Whether the rule's POST is that of `git fetch`, which reads."""
    return rule.methods == ("POST",) and only_fetches(rule.rule())


def mark_domains(rules: Iterable[Proposed]) -> None:
    """Mark the rules of hosts that share a domain with many others."""
    hosts: dict[str, set[str]] = defaultdict(set)
    found = [(rule, domain) for rule in rules if (domain := _domain(rule.host)) is not None]
    for rule, domain in found:
        hosts[domain].add(rule.host.name)
    for rule, domain in found:
        count = len(hosts[domain])
        if count >= MANY_HOSTS:
            rule.look_again.append(f'one of {count} hosts of {domain}: "*.{domain}" would be shorter, and wider')


def _user_content(host: Host) -> str | None:
    """Whose the host may be, in words; None where it is not one of the many names that a hoster gives away."""
    if any(host.name == each.host for each in OPEN):
        return None  # there, the owner stands in the path: `outgate check` looks at that
    shared = next((each for each in SHARED if host.name.endswith("." + each.suffix)), None)
    if shared is not None:
        return shared.what
    every, icann = _suffix_lists()
    suffix = every.publicsuffix(host.name)
    return None if suffix == icann.publicsuffix(host.name) else f"anybody can own a name below {suffix}"


def _domain(host: Host) -> str | None:
    if host.address is not None or _user_content(host) is not None:
        return None
    every, _ = _suffix_lists()
    domain = every.privatesuffix(host.name)
    return None if domain is None else str(domain)


@lru_cache(maxsize=1)
def _suffix_lists() -> tuple[Any, Any]:
    from publicsuffixlist import PublicSuffixList  # late: it reads 300 kB

    return PublicSuffixList(), PublicSuffixList(only_icann=True)
