"""The smallest change of a policy that would allow a denied request, and the proof that it does.

Smallest means: what opens the least. The nearest rule is changed where that opens this request alone, or renews
what had expired; otherwise a rule of its own says exactly the request. A change is only given if the policy with it,
decided again, allows the request and no two of its rules contradict each other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from ipaddress import ip_network

from proxy.config.texts import MAX_PATH
from proxy.policy.host import Authority, HostPattern
from proxy.policy.overlap import conflicts
from proxy.policy.path import AmbiguousPath, PathPattern, read_path
from proxy.policy.query import read_query
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import NEVER_METHODS, Policy, Rule
from proxy.review.asked import Asked, Verdict, judge
from proxy.review.change_words import notes, opens
from proxy.review.nearest import Nearest
from proxy.review.sections import rules_in, with_rule
from proxy.review.snippet import as_text, path_text

WHY = "say here what the agent needs it for"
_MOST_RULES = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One allow rule, new or changed (`keys` are then the keys to change), that makes the request allowed.

    `yaml` is the entry of `allow` to add, or the keys to change in it; `opens` says what passes that did not before.
    """

    rule: Rule
    keys: tuple[str, ...]
    yaml: str
    opens: str
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> bool:
        return not self.keys


@dataclass(frozen=True, slots=True)
class NoChange:
    """No rule can allow the request, and why."""

    because: str


def smallest_change(
    policy: Policy, asked: Asked, verdict: Verdict, near: Nearest | None, today: date
) -> Change | NoChange:
    """The smallest change that lets the policy allow what it denied, or why there is none."""
    last = verdict
    for rule, keys in _candidates(policy, asked, near, today):
        changed = with_rule(policy, rule)
        again = judge(changed, asked, today)
        if not again.decision.allowed or again.decision.observed:
            last = again
        elif next(conflicts(rules_in(changed.allow)), None) is None:
            told = opens(asked, rule, keys), tuple(notes(policy, asked, rule, keys))
            return Change(rule, keys, as_text(rule, keys), *told)
    return NoChange(_because(policy, asked, last))


def _candidates(
    policy: Policy, asked: Asked, near: Nearest | None, today: date
) -> Iterator[tuple[Rule, tuple[str, ...]]]:
    """Rules that may do, the one that opens the least first."""
    if near is not None:
        edited = _edited(near, asked, today)
        if edited is not None:
            yield edited
    rule = _exact(policy, asked, near)
    for credential in dict.fromkeys((_credential(policy, asked, near), None)):
        named = replace(rule, credential=credential)
        if isinstance(asked, Authority):
            yield named, ()
            continue
        for keep in (False, True):
            paths = _pattern(asked, keep=keep)
            if paths is not None:
                yield replace(named, paths=(paths,), keep_encoded_slash=keep), ()
        yield named, ()


def _edited(near: Nearest, asked: Asked, today: date) -> tuple[Rule, tuple[str, ...]] | None:
    """The nearest rule with the one thing changed in which it differs, if that opens no more than the request."""
    rule = near.rule
    if len(near.differences) != 1:
        return None
    what = near.differences[0].what
    if what == "expires":
        return replace(rule, expires=today), ("expires",)
    if not _single(rule, but=what) or rule.inspect is isinstance(asked, Authority):
        return None
    if isinstance(asked, Authority):
        return (_with_endpoints(rule, {("https", asked.port)}), ("ports",)) if what == "port" else None
    if what == "method" and rule.methods is not None:
        return replace(rule, methods=rule.methods | asked.methods), ("methods",)
    if what == "path" and rule.paths is not None:
        pattern = _pattern(asked, keep=rule.keep_encoded_slash)
        exact = pattern is not None and not pattern.rest and None not in pattern.segments
        return (replace(rule, paths=(*rule.paths, pattern)), ("paths",)) if pattern and exact else None
    if what == "port" and rule.endpoints is not None and {scheme for scheme, _ in rule.endpoints} == {asked.scheme}:
        return _with_endpoints(rule, {(asked.scheme, asked.port)}), ("ports",)
    return None


def _with_endpoints(rule: Rule, more: set[tuple[str, int]]) -> Rule:
    return replace(rule, endpoints=(rule.endpoints or frozenset()) | more)


def _single(rule: Rule, *, but: str) -> bool:
    """Whether the rule, but for one key, is about one host, one place, one method and one path."""
    host = len(rule.hosts) == 1 and not rule.hosts[0].wildcard and not rule.networks
    port = but == "port" or (rule.endpoints is not None and len(rule.endpoints) == 1)
    if not rule.inspect:
        return host and port
    method = but == "method" or (rule.methods is not None and len(rule.methods) == 1)
    path = but == "path" or (
        rule.paths is not None
        and len(rule.paths) == 1
        and not rule.paths[0].rest
        and None not in rule.paths[0].segments
    )
    return host and port and method and path


def _exact(policy: Policy, asked: Asked, near: Nearest | None) -> Rule:
    """A new rule for exactly this request, but for its path."""
    literal = asked.host.address
    taken = {rule.id for rule in policy.rules}
    tunnel = isinstance(asked, Authority)
    scheme = "https" if isinstance(asked, Authority) else asked.scheme
    return Rule(
        id=_free_id(asked, taken),
        where=policy.source,
        why=WHY,
        hosts=() if literal else (HostPattern(asked.host.name),),
        networks=(ip_network(literal),) if literal else (),
        endpoints=frozenset({(scheme, asked.port)}),
        methods=None if isinstance(asked, Authority) else asked.methods,
        query=() if isinstance(asked, Authority) else _query(asked, near),
        inspect=not tunnel,
    )


def _query(request: Request, near: Nearest | None) -> tuple[tuple[str, str], ...]:
    """The keys that the nearest rule watches, with the values that the request has, where it has one of each."""
    watched = {key for key, _ in near.rule.query} if near and near.rule.speaks_of(request.host) else set()
    pairs = [(key, value) for key, value in read_query(request.query, "&") if key in watched]
    return tuple(sorted(pair for pair in pairs if request.asked.matches((pair,))))


def _credential(policy: Policy, asked: Asked, near: Nearest | None) -> str | None:
    """The credential of the nearest rule, where it may travel with this request."""
    if near is None or near.rule.credential is None or isinstance(asked, Authority) or asked.scheme != "https":
        return None
    spec = policy.credentials[near.rule.credential]
    return spec.name if spec.bound_to(asked.host) else None


def _pattern(request: Request, *, keep: bool) -> PathPattern | None:
    """The pattern that means the path and, unless it holds a star or is very long, no other."""
    try:
        path = read_path(request.path, keep_encoded_slash=keep)
    except AmbiguousPath:
        return None
    pattern = PathPattern(tuple(None if "*" in segment else segment for segment in path))
    while len(path_text(pattern)) > MAX_PATH:
        pattern = PathPattern(pattern.segments[:-1], rest=True)
    return pattern


def _free_id(asked: Asked, taken: set[str]) -> str:
    method = "tunnel" if isinstance(asked, Authority) else asked.method
    base = re.sub(r"[^a-z0-9]+", "-", f"{asked.host.name} {method}".lower()).strip("-")
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _because(policy: Policy, asked: Asked, verdict: Verdict) -> str:
    decision = verdict.decision
    if decision.rule is not None and not decision.allowed:
        where = next(rule.where for rule in policy.rules if rule.id == decision.rule)
        ambiguous = decision.reason is Reason.AMBIGUOUS_PATH
        kind = "may mean it, for its path has more than one reading" if ambiguous else "forbids it"
        return f"no rule can allow it: the deny rule {decision.rule} ({where}) {kind}, whatever another rule allows"
    if decision.reason is Reason.AMBIGUOUS_PATH:
        return "no rule can allow it: two servers could read the path differently; send it in its plain form"
    if decision.reason is Reason.MALFORMED_REQUEST:
        return "no rule can allow it: servers do not agree on which method the query names"
    if isinstance(asked, Request) and decision.reason is Reason.METHOD_NOT_ALLOWED:
        return f"no rule can allow it: {min(asked.methods & NEVER_METHODS)} never passes"
    rules = [rule.id for rule in policy.allow.speaking_of(asked.host) if rule.opens_port(asked.port)]
    return (
        "no rule beside the others can allow it: "
        f"{', '.join(sorted(rules)[:_MOST_RULES])} speaks of the host and port, with another `inspect` or credential"
    )
