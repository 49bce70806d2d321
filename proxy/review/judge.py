"""A recorded exchange decided again under another policy, and where the record does not tell enough for that.

The values of queries and headers are not on record. What could turn on them is said to depend on them, never guessed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from proxy.audit.event import MAX_KEY, MAX_KEYS
from proxy.audit.sanitise import sanitise
from proxy.policy.address import is_public, within
from proxy.policy.decide import Decision, decide, decide_connect
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.request import MalformedRequest, Request
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.seen import Seen

_MAX_CACHED = 2000


@dataclass(frozen=True, slots=True)
class Again:
    """A decision made again. `depends` says in words what else it depends on; empty if the record tells all."""

    decision: Decision
    tunnel: bool = False
    depends: str = ""


@dataclass
class Judge:
    """Decides recorded exchanges under one policy."""

    policy: Policy
    _variants: dict[tuple[str, str], Policy] = field(default_factory=dict, init=False)

    def again(self, seen: Seen, today: date) -> Again | None:
        """The decision on a recorded exchange, its address included; None if the record cannot be judged.

        `today` is the day that `expires` is compared with.
        """
        judged = self.decide(seen, today)
        if judged is None or judged.depends or not judged.decision.allowed or not seen.passed:
            return judged
        return self._dialled(seen, judged)

    def decide(self, seen: Seen, today: date) -> Again | None:
        """As `again`, without the check of the address that was connected to."""
        if seen.host is None or not seen.port:
            return None
        if seen.tunnel:
            return self._connect(seen.host, seen.port, today)
        request = request_of(seen)
        if request is None:
            return None
        if request.scheme == "https":
            connect = decide_connect(self.policy, request.host, request.port, today)
            if connect.tunnel or not connect.decision.allowed:
                return Again(connect.decision, connect.tunnel)
        return self._request(seen, request, today)

    def _connect(self, host: Host, port: int, today: date) -> Again:
        connect = decide_connect(self.policy, host, port, today)
        if connect.tunnel or not connect.decision.allowed:
            return Again(connect.decision, tunnel=True)
        if not self.policy.observe and not any(rule.inspect for rule in self.policy.allow.speaking_of(host)):
            literal = host.address is not None
            return Again(Decision(reason=Reason.ADDRESS_NOT_ALLOWED if literal else Reason.HOST_NOT_ALLOWED))
        return Again(connect.decision, depends="the requests in the tunnel, which would be inspected")

    def _request(self, seen: Seen, request: Request, today: date) -> Again:
        # Without its query, the request meets no rule that asks for one: that is one of the possible answers.
        base = decide(self.policy, request, today)
        asking = self._asking(request.host, seen.query_keys)
        turning = [rule.id for rule in asking if self._turns(rule, base, request, today)]
        if not turning:
            return Again(base)
        rules = ", ".join(sorted(turning)[:3])
        return Again(base, depends=f"the query: {'rule' if len(turning) == 1 else 'rules'} {rules}")

    def _asking(self, host: Host, keys: tuple[str, ...]) -> Iterator[Rule]:
        """The rules about the host whose query the request may have had."""
        if not keys:
            return
        cut = len(keys) >= MAX_KEYS
        for rule in self.policy.allow.speaking_of(host):
            if rule.query and (cut or all(sanitise(key, MAX_KEY) in keys for key, _ in rule.query)):
                yield rule
        # A deny rule reads a query in each way that a server could: a value on record nowhere may hold `;key=value`.
        yield from (rule for rule in self.policy.deny.speaking_of(host) if rule.query)

    def _turns(self, rule: Rule, base: Decision, request: Request, today: date) -> bool:
        """Whether the answer would be another one if the query were what the rule asks for."""
        key = (request.host.name, rule.id)
        if key not in self._variants:
            if len(self._variants) >= _MAX_CACHED:
                self._variants.clear()
            self._variants[key] = self._without_query(request.host, rule.id)
        other = decide(self._variants[key], request, today)
        return _gist(other) != _gist(base)

    def _without_query(self, host: Host, rule_id: str) -> Policy:
        """The policy for one host, with the rule matching whatever the query is."""
        allow, deny = (
            RuleIndex.of(replace(rule, query=()) if rule.id == rule_id else rule for rule in index.speaking_of(host))
            for index in (self.policy.allow, self.policy.deny)
        )
        return replace(self.policy, allow=allow, deny=deny)

    def _dialled(self, seen: Seen, judged: Again) -> Again:
        address = seen.upstream_ip
        if address is None:
            return judged
        denied = within(address, self.policy.denied_networks)
        if is_public(address):
            return replace(judged, decision=Decision(reason=Reason.DENIED_BY_RULE)) if denied else judged
        # Observe mode opens no private address, so one that was reached in it was the operator's, by --connect-to.
        if seen.observed or (not denied and within(address, judged.decision.networks)):
            return judged
        return replace(judged, depends=f"the address: {address} is not opened, unless --connect-to leads there")


def request_of(seen: Seen) -> Request | None:
    """The recorded request without its query; None if it cannot be made again, as where its path was cut."""
    if seen.host is None or seen.scheme not in ("https", "http"):
        return None
    try:
        return Request(seen.scheme, seen.host, seen.port, seen.method, seen.path)
    except MalformedRequest:
        return None


def _gist(decision: Decision) -> tuple[object, ...]:
    """What counts: of a request that is refused either way, that it is."""
    return (decision.allowed, *((decision.rule, decision.credential) if decision.allowed else ()))
