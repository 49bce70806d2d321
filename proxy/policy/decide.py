"""The decision. Every allow and every deny of a request or a tunnel comes from here.

Pure: a policy, a request and a date in, a decision out. Rule order never matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import IntEnum
from functools import reduce

from proxy.policy.address import Network, within
from proxy.policy.host import Host
from proxy.policy.reading import Reading
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import NEVER_METHODS, Policy, Rule

# What `mode: observe` lets pass. Deny rules, address checks and every doubt about what a request is hold in each mode.
OBSERVABLE = frozenset(
    {
        Reason.HOST_NOT_ALLOWED,
        Reason.PORT_NOT_ALLOWED,
        Reason.SCHEME_NOT_ALLOWED,
        Reason.METHOD_NOT_ALLOWED,
        Reason.PATH_NOT_ALLOWED,
        Reason.QUERY_NOT_ALLOWED,
        Reason.RULE_EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What may happen to a request. The zero value denies.

    `rule` is the id of the rule that decided, `nearest` that of the rule that came closest to a denied request,
    `networks` the private ranges that the deciding rules open, `credential` the name to inject. `trace_context` says
    whether the client's trace headers go upstream.
    `observed` marks a denial that `mode: observe` let pass: `allowed` is true and `reason` says why not.
    """

    allowed: bool = False
    reason: Reason = Reason.POLICY_ERROR
    rule: str | None = None
    nearest: str | None = None
    credential: str | None = None
    networks: tuple[Network, ...] = ()
    trace_context: bool = False
    observed: bool = False


@dataclass(frozen=True, slots=True)
class ConnectDecision:
    """What may happen to a CONNECT. The zero value denies.

    `tunnel` is set for a rule with `inspect: false`; otherwise the tunnel's content is intercepted and each
    request in it is decided on its own. `http2` says whether HTTP/2 is offered to the client.
    """

    decision: Decision = Decision()
    tunnel: bool = False
    http2: bool = False


class _Stage(IntEnum):
    """How far a request got with one rule; a later stage is a nearer miss."""

    SCHEME = 1
    PORT = 2
    METHOD = 3
    PATH = 4
    QUERY = 5
    EXPIRED = 6
    MATCH = 7


_MISSED = {
    _Stage.SCHEME: Reason.SCHEME_NOT_ALLOWED,
    _Stage.PORT: Reason.PORT_NOT_ALLOWED,
    _Stage.METHOD: Reason.METHOD_NOT_ALLOWED,
    _Stage.PATH: Reason.PATH_NOT_ALLOWED,
    _Stage.QUERY: Reason.QUERY_NOT_ALLOWED,
    _Stage.EXPIRED: Reason.RULE_EXPIRED,
}


def decide(policy: Policy, request: Request, today: date) -> Decision:
    """Decide one request. `today` (UTC) is the day that `expires` is compared with."""
    if not request.methods.isdisjoint(NEVER_METHODS):
        return Decision(reason=Reason.METHOD_NOT_ALLOWED)
    if request.unclear_method:
        return Decision(reason=Reason.MALFORMED_REQUEST)
    denying = policy.deny.speaking_of(request.host)
    allowing = tuple([rule for rule in policy.allow.speaking_of(request.host) if rule.inspect])
    reading = Reading(request, denying, allowing)
    for rule in sorted(denying, key=_by_id):
        if _denies(rule, request, reading):
            readable = rule.paths is None or reading.every
            return Decision(reason=Reason.DENIED_BY_RULE if readable else Reason.AMBIGUOUS_PATH, rule=rule.id)
    named = [request.method, *sorted(request.methods - {request.method})]
    verdict = _agreed(policy, [_decide_allow(request, method, reading, allowing, today) for method in named])
    return _observe(verdict) if policy.observe else verdict


def decide_both(policy: Policy, request: Request, there: Request, today: date) -> Decision:
    """Decide a request that writes to a second place, for which it were `there`: both must be allowed with the same
    credential, so that none of them is used where the policy does not. It reaches what both reach.
    """
    first, second = (decide(policy, each, today) for each in (request, there))
    observed = next((each for each in (first, second) if each.observed), None)
    if refused := next((each for each in (first, second) if not each.allowed), observed):
        return refused
    if _sent(policy, first) != _sent(policy, second):
        verdict = Decision(reason=Reason.PATH_NOT_ALLOWED, nearest=second.rule)
        return _observe(verdict) if policy.observe else verdict
    return _common((first, second))


def decide_connect(policy: Policy, host: Host, port: int, today: date) -> ConnectDecision:
    """Decide a CONNECT: refused only for what can never hold a request, else a tunnel or an interception."""
    rules = policy.allow.speaking_of(host)
    inspected = [rule for rule in rules if rule.inspect and rule.opens_port(port)]
    tunnels = [rule for rule in rules if not rule.inspect and rule.opens_port(port)]
    if tunnels and not inspected:
        return ConnectDecision(_decide_tunnel(policy, host, port, tunnels, today), tunnel=True)
    http2 = any(rule.http2 for rule in inspected)
    if inspected or policy.observe:
        return ConnectDecision(Decision(allowed=True, reason=Reason.ALLOWED), http2=http2)
    if rules or port not in policy.ports:
        nearest = min((rule.id for rule in rules), default=None)
        return ConnectDecision(Decision(reason=Reason.PORT_NOT_ALLOWED, nearest=nearest))
    return ConnectDecision(Decision(allowed=True, reason=Reason.ALLOWED))


def _decide_tunnel(policy: Policy, host: Host, port: int, tunnels: list[Rule], today: date) -> Decision:
    # What a deny rule says of methods or paths cannot be seen in a tunnel, so each one about the host closes it.
    for rule in sorted(policy.deny.speaking_of(host), key=_by_id):
        if rule.opens_port(port):
            return Decision(reason=Reason.DENIED_BY_RULE, rule=rule.id)
    current = [rule for rule in tunnels if not rule.expired(today)]
    if not current:
        return Decision(reason=Reason.RULE_EXPIRED, nearest=min(rule.id for rule in tunnels))
    return _allowed(host, current)


def _agreed(policy: Policy, verdicts: list[Decision]) -> Decision:
    """The verdict on a request that some servers take for one of another method: each has one of its own, and all of
    them must allow it with the same credential. It reaches what each of them reaches. So what joins or splits rules
    changes nothing, and what takes an address from one of them opens nothing.
    """
    first, *others = verdicts
    if not others:
        return first
    refused = next((each for each in verdicts if not each.allowed), None)
    if refused is not None:
        return refused
    if any(_sent(policy, each) != _sent(policy, first) for each in others):
        return Decision(reason=Reason.METHOD_NOT_ALLOWED, nearest=first.rule)
    return _common(verdicts)


def _common(verdicts: Sequence[Decision]) -> Decision:
    """The first of several decisions that allow with the same credential, with no more than each of them opens."""
    networks = reduce(_in_both, (each.networks for each in verdicts))
    return replace(verdicts[0], networks=networks, trace_context=all(each.trace_context for each in verdicts))


def _sent(policy: Policy, verdict: Decision) -> object:
    """What goes out as a credential, and how. Its name does not count."""
    spec = None if verdict.credential is None else policy.credentials.get(verdict.credential)
    return verdict.credential if spec is None else replace(spec, name="")


def _in_both(one: tuple[Network, ...], other: tuple[Network, ...]) -> tuple[Network, ...]:
    pairs = ((a, b) for a in one for b in other if a.version == b.version and a.overlaps(b))
    return tuple(dict.fromkeys(a if a.prefixlen >= b.prefixlen else b for a, b in pairs))


def _decide_allow(request: Request, method: str, reading: Reading, rules: tuple[Rule, ...], today: date) -> Decision:
    if not rules:
        literal = request.host.address is not None
        return Decision(reason=Reason.ADDRESS_NOT_ALLOWED if literal else Reason.HOST_NOT_ALLOWED)
    stages = {rule.id: _stage(rule, request, method, reading, today) for rule in rules}
    matching = [rule for rule in rules if stages[rule.id] is _Stage.MATCH]
    if matching:
        if reading.ambiguous_for(matching):
            return Decision(reason=Reason.AMBIGUOUS_PATH, nearest=min(rule.id for rule in matching))
        return _allowed(request.host, matching)
    furthest = max(stages.values())
    nearest = min(rule_id for rule_id, stage in stages.items() if stage is furthest)
    if furthest is _Stage.PATH and reading.ambiguous:
        return Decision(reason=Reason.AMBIGUOUS_PATH, nearest=nearest)
    return Decision(reason=_MISSED[furthest], nearest=nearest)


def _allowed(host: Host, matching: list[Rule]) -> Decision:
    rule = matching[0]
    networks, trace_context = rule.networks, rule.trace_context
    if len(matching) > 1:
        if len({rule.credential for rule in matching if rule.credential is not None}) > 1:
            return Decision(reason=Reason.POLICY_ERROR)  # the checker refuses such a policy; this is the second lock
        rule = min(matching, key=lambda rule: (rule.credential is None, rule.id))
        networks = tuple(dict.fromkeys(network for each in matching for network in each.networks))
        trace_context = any(each.trace_context for each in matching)
    if host.address is not None and not within(host.address, networks):
        return Decision(reason=Reason.ADDRESS_NOT_ALLOWED)
    return Decision(
        allowed=True,
        reason=Reason.ALLOWED,
        rule=rule.id,
        credential=rule.credential,
        networks=networks,
        trace_context=trace_context,
    )


def _stage(rule: Rule, request: Request, method: str, reading: Reading, today: date) -> _Stage:
    if rule.endpoints is not None and (request.scheme, request.port) not in rule.endpoints:
        schemes = {scheme for scheme, _ in rule.endpoints}
        return _Stage.PORT if request.scheme in schemes else _Stage.SCHEME
    if rule.methods is not None and method not in rule.methods:
        return _Stage.METHOD
    if rule.paths is not None:
        segments = reading.kept if rule.keep_encoded_slash else reading.strict
        if segments is None or not any(pattern.matches(segments) for pattern in rule.paths):
            return _Stage.PATH
    if rule.query and not request.asked.matches(rule.query):
        return _Stage.QUERY
    return _Stage.EXPIRED if rule.expired(today) else _Stage.MATCH


def _denies(rule: Rule, request: Request, reading: Reading) -> bool:
    if rule.endpoints is not None and (request.scheme, request.port) not in rule.endpoints:
        return False
    if rule.methods is not None and request.methods.isdisjoint(rule.methods):
        return False
    # A path that cannot be read may be the one that the rule means.
    if rule.paths is not None and reading.every:
        if not any(pattern.blind.matches(segments) for segments in reading.blind for pattern in rule.paths):
            return False
    return not rule.query or request.asked.denied(rule.query)


def _observe(decision: Decision) -> Decision:
    if decision.allowed or decision.reason not in OBSERVABLE:
        return decision
    return replace(decision, allowed=True, observed=True)


def _by_id(rule: Rule) -> str:
    return rule.id
