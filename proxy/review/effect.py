"""What a policy does with one request, reduced to what somebody outside could tell apart. `decide` is what is asked."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

from proxy.policy.address import Network
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.decide import ConnectDecision, decide, decide_connect
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule
from proxy.review.addresses import Addresses
from proxy.review.hosts import HostClass
from proxy.review.path_places import TooLarge
from proxy.review.regions import Endpoint, Speaking

MAX_WORK = 3_000_000  # in rules looked at, each some microseconds


@dataclass(frozen=True, slots=True)
class Secret:
    """What is injected. Two credentials that differ in nothing but name and placeholder are one."""

    source: str
    provider: str | None
    inject: Inject | None
    replaces: bool
    name: str = field(compare=False)

    @classmethod
    def of(cls, spec: CredentialSpec) -> "Secret":
        return cls(
            spec.source,
            spec.provider,
            spec.inject,
            spec.replace_client_credentials,
            spec.name,
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to a request. `denied`: by a deny rule, not for want of an allow rule.

    `reach` are the spans of addresses that the host may resolve into. `rule` decided; `expired` is set where an
    allow rule would have matched some days ago. A request that does not pass has nothing else.
    """

    passes: bool = False
    denied: bool = False
    tunnel: bool = False
    http2: bool = False
    trace_context: bool = False
    secret: Secret | None = None
    reach: frozenset[int] = frozenset()
    observed: bool = False
    rule: str | None = field(default=None, compare=False)
    expired: bool = field(default=False, compare=False)


@dataclass(slots=True)
class Budget:
    """What may be spent on one comparison."""

    left: int = MAX_WORK

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise TooLarge("too many kinds of request would have to be compared")


class Asking:
    """One policy, asked again and again. Raises `TooLarge` once the budget is spent."""

    def __init__(self, policy: Policy, addresses: Addresses, budget: Budget) -> None:
        self.policy = policy
        self.denied = addresses.within(policy.denied_networks)
        self._addresses = addresses
        self._reach: dict[tuple[Network, ...], frozenset[int]] = {}
        self._literal = self._by_span()
        self._connects: dict[tuple[Host, int, date | None], ConnectDecision] = {}
        self.budget = budget

    def connect(self, host: Host, port: int, day: date) -> ConnectDecision:
        """The decision on a CONNECT, which depends on the day only where it is a tunnel."""
        known = self._connects.get((host, port, None)) or self._connects.get((host, port, day))
        if known is None:
            self.budget.spend(len(self.policy.allow.literal) if host.address is not None else 8)
            known = decide_connect(self.policy, host, port, day)
            self._connects[host, port, day if known.tunnel else None] = known
        return known

    def speaking(self, host: HostClass) -> Speaking:
        """The rules about a host."""
        if host.span is not None:
            return self._literal.get(host.span, Speaking((), ()))
        return Speaking(self.policy.allow.speaking_of(host.host), self.policy.deny.speaking_of(host.host))

    def _by_span(self) -> dict[int, Speaking]:
        found: dict[int, tuple[list[Rule], list[Rule]]] = defaultdict(lambda: ([], []))
        for side, rules in enumerate((self.policy.allow.literal, self.policy.deny.literal)):
            for rule in rules:
                for span in self._addresses.within(rule.networks):
                    found[span][side].append(rule)
        return {span: Speaking(tuple(allow), tuple(deny)) for span, (allow, deny) in found.items()}

    def effect(  # noqa: PLR0913, PLR0917  a request, and whom to ask
        self, host: HostClass, endpoint: Endpoint, method: str, target: str, day: date, rules: Policy | None = None
    ) -> Effect:
        """What happens to the request: to its CONNECT, if it needs one, then to itself, then at the dial.

        `rules` is the policy cut down to the rules that can match the request, where that is known.
        """
        policy = self.policy if rules is None else rules
        speaks = self.speaking(host)
        self.budget.spend(8 + (len(speaks.allow) + len(speaks.deny) if rules is None else len(rules.rules)))
        connect = self.connect(host.host, endpoint.port, day) if endpoint.scheme == "https" else ConnectDecision()
        if connect.tunnel:
            decision = connect.decision
        else:
            # Also behind a CONNECT that is refused for its port: then nothing passes, but a deny rule means it anyway.
            decision = decide(policy, Request(endpoint.scheme, host.host, endpoint.port, method, target), day)
        if not decision.allowed or (endpoint.scheme == "https" and not connect.decision.allowed):
            denied = not decision.allowed and decision.rule is not None
            expired = decision.reason is Reason.RULE_EXPIRED
            return Effect(denied=denied, rule=decision.rule if denied else None, expired=expired)
        reach = self.reach(decision.networks)
        if host.span is not None:
            reach &= {host.span}
        if not reach:
            return Effect(denied=host.span in self.denied)
        return Effect(
            passes=True,
            tunnel=connect.tunnel,
            http2=connect.http2,
            trace_context=decision.trace_context,
            secret=self.secret(decision.credential, endpoint.scheme, host.host),
            reach=reach,
            observed=decision.observed,
            rule=decision.rule,
        )

    def reach(self, networks: tuple[Network, ...]) -> frozenset[int]:
        """Where a connection may lead, as the dial vets it: public or opened, and not denied."""
        if networks not in self._reach:
            self._reach[networks] = (self._addresses.public | self._addresses.within(networks)) - self.denied
        return self._reach[networks]

    def secret(self, name: str | None, scheme: str, host: Host) -> Secret | None:
        """What is injected for a credential: nothing over cleartext, nor where it is not bound."""
        spec = None if name is None else self.policy.credentials.get(name)
        if spec is None or scheme != "https" or not spec.bound_to(host):
            return None
        return Secret.of(spec)
