"""What the entries of a policy mean together, over all files that it is merged from."""

import difflib
from collections.abc import Iterator, Sequence
from itertools import islice

from proxy.config.compile import Part
from proxy.config.tree import KeyPath, shown
from proxy.errors import Problem
from proxy.policy.overlap import Conflict, conflicts
from proxy.policy.rules import Rule

# A mistake in one wide rule can meet thousands of others; this many show it.
_MOST_CONFLICTS = 20

type _Placed = tuple[Part, KeyPath]


def check_alone(part: Part, closure: Sequence[Part]) -> Iterator[Problem]:
    """What must hold of one file and all that it extends: its credentials are known, bound to the hosts, and used."""
    credentials = {name: spec for each in closure for name, spec in each.credentials.items()}
    used = {rule.credential for each in closure for rule in each.allow}
    for name in part.credentials:
        if name not in used:
            hint = f"remove it, or name it in a rule: `credential: {name}`"
            message = f"no rule uses the credential {shown(name)}"
            yield part.document.problem(("credentials", name), message, hint, at_key=True)
    for index, rule in enumerate(part.allow):
        if rule.credential is None:
            continue
        path = ("allow", index, "credential")
        spec = credentials.get(rule.credential)
        if spec is None:
            near = difflib.get_close_matches(rule.credential, credentials, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"define `{rule.credential}` below `credentials`"
            yield part.document.problem(path, f"no credential is named {shown(rule.credential)}", hint)
        elif not any(ours.overlaps(theirs) for ours in rule.hosts for theirs in spec.hosts):
            hosts = ", ".join(str(pattern) for pattern in spec.hosts[:3])
            message = f"the credential {shown(spec.name)} is not bound to any host of the rule {shown(rule.id)}"
            yield part.document.problem(path, message, f"it is bound to {hosts}; add the host to its `hosts`")


def check_together(parts: Sequence[Part]) -> Iterator[Problem]:
    """What must hold of the merged policy: each name once, and no two rules that contradict each other."""
    rules: dict[str, _Placed] = {}
    credentials: dict[str, _Placed] = {}
    variables: dict[str, _Placed] = {}
    for part in parts:
        for section, entries in (("allow", part.allow), ("deny", part.deny)):
            for index, rule in enumerate(entries):
                placed: _Placed = (part, (section, index, "id"))
                if (first := rules.setdefault(rule.id, placed)) is not placed:
                    yield _twice(first, placed, f"two rules have the id {shown(rule.id)}")
        for name, spec in part.credentials.items():
            placed = (part, ("credentials", name))
            if (first := credentials.setdefault(name, placed)) is not placed:
                yield _twice(first, placed, f"two credentials have the name {shown(name)}")
            placed = (part, ("credentials", name, "placeholder"))
            if spec.placeholder and (first := variables.setdefault(spec.placeholder, placed)) is not placed:
                yield _twice(first, placed, f"two credentials have the placeholder {shown(spec.placeholder)}")
    allowing = [rule for part in parts for rule in part.allow]
    for conflict in islice(conflicts(allowing), _MOST_CONFLICTS):
        yield _contradiction(conflict, rules)


def _twice(first: _Placed, again: _Placed, message: str) -> Problem:
    (part, path), (other, here) = first, again
    hint = f"the other one stands at {part.document.where(path).rpartition(':')[0]}; rename one of them"
    return other.document.problem(here, message, hint, at_key=here[0] == "credentials")


def _contradiction(conflict: Conflict, places: dict[str, _Placed]) -> Problem:
    one, other = conflict.one, conflict.other
    part, path = places[other.id]
    pair = f"{shown(one.id)} ({one.where}) and {shown(other.id)} ({other.where})"
    if conflict.tunnel:
        message = f"the rules {pair} speak of the same host and port, one with a tunnel and one with inspection"
        return part.document.problem(path[:2], message, "give both the same `inspect`, or separate hosts or ports")
    names = f"{shown(one.credential or '')} and {shown(other.credential or '')}"
    message = f"the rules {pair} can match the same request with different credentials, {names}"
    return part.document.problem(path[:2], message, _apart(one, other))


def _apart(one: Rule, other: Rule) -> str:
    if one.networks and other.networks and not any(a.overlaps(b) for a in one.hosts for b in other.hosts):
        return "their `addresses` overlap, so a request for a bare address meets both; give each its own addresses"
    return "give both the same credential, or separate their hosts, methods, paths or query"
