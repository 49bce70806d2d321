"""Which credential a proposed rule should name: one that the current policy has, or one of a known provider."""

from proxy.credentials.providers import PROVIDERS
from proxy.policy.credential import CredentialSpec
from proxy.policy.host import HostPattern
from proxy.policy.overlap import conflicts
from proxy.policy.rules import Policy
from proxy.review.proposal import Proposed
from proxy.review.second_look import provider_at
from proxy.review.sections import rules_in


def attach(rules: list[Proposed], current: Policy) -> dict[str, CredentialSpec]:
    """Name a credential in each rule that needs one. Returns the credentials that the rules name, by name.

    A new one is bound to the first host that needs it: whoever writes it down binds it to all of them.
    """
    specs: dict[str, CredentialSpec] = dict(current.credentials)
    for rule in rules:
        if rule.tunnel or rule.scheme != "https" or rule.host.address is not None:
            continue
        bound = [spec for spec in current.credentials.values() if spec.bound_to(rule.host)]
        if len(bound) == 1:
            rule.credential = bound[0].name
        elif bound:
            names = ", ".join(sorted(spec.name for spec in bound))
            rule.look_again.append(f"several credentials are bound to the host: name one of {names}, if it needs one")
        else:
            _known(rule, specs, current)
    _one_credential(rules, current)
    return {rule.credential: specs[rule.credential] for rule in rules if rule.credential is not None}


def _known(rule: Proposed, specs: dict[str, CredentialSpec], current: Policy) -> None:
    """Propose a credential where the host is that of a known provider."""
    name = provider_at(rule.host)
    if name is None:
        return
    if name in current.credentials:
        rule.look_again.append(
            f"the credential {name} is not bound to the host: add it to its `hosts`, if it needs one"
        )
        return
    rule.credential = name
    if name in specs:
        return
    variable = PROVIDERS[name].variable
    taken = {spec.placeholder for spec in current.credentials.values()}
    specs[name] = CredentialSpec(
        name=name,
        source=f"env:{variable}",
        hosts=(HostPattern(rule.host.name),),
        provider=name,
        placeholder=None if variable in taken else variable,
    )


def _one_credential(rules: list[Proposed], current: Policy) -> None:
    """Take the credential off a rule that shares requests with one that names another."""
    by_id = {rule.id: rule for rule in rules}
    for conflict in list(conflicts([*rules_in(current.allow), *(rule.rule() for rule in rules)])):
        for ours, other in ((conflict.one, conflict.other), (conflict.other, conflict.one)):
            rule = by_id.get(ours.id)
            if rule is not None and not conflict.tunnel and rule.credential is not None:
                rule.credential = None
                rule.look_again.append(f"it shares requests with the rule {other.id}, which names {other.credential}")
                break


def without_tunnel_conflicts(
    rules: list[Proposed], current: Policy
) -> tuple[list[Proposed], list[tuple[Proposed, str]]]:
    """The rules that can join the policy, and those that cannot: of one host and port, a tunnel and inspection
    exclude each other. Rules that inspect stay, unless the current policy has the tunnel.
    """
    by_id = {rule.id: rule for rule in rules}
    dropped: dict[str, str] = {}
    for conflict in conflicts([*rules_in(current.allow), *(rule.rule() for rule in rules)]):
        if not conflict.tunnel:
            continue
        pair = [(conflict.one, conflict.other), (conflict.other, conflict.one)]
        ours = [(by_id[one.id], other) for one, other in pair if one.id in by_id]
        rule, other = next(((rule, other) for rule, other in ours if len(ours) == 1 or rule.tunnel))
        dropped[rule.id] = f"the rule {other.id} {'inspects' if other.inspect else 'opens a tunnel to'} the same place"
    return [rule for rule in rules if rule.id not in dropped], [(by_id[each], why) for each, why in dropped.items()]
