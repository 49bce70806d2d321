"""One client connection: who is behind it, what it may reach, and the exchanges on it. For every engine."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy import limits
from proxy.boundary import Boundary
from proxy.budget import Budget
from proxy.credentials.sources import SecretStore
from proxy.dial import Grant
from proxy.exchange import Exchange
from proxy.policy.decide import ConnectDecision
from proxy.policy.host import Authority
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy
from proxy.serving import Serving

# Stands in for the policy of a client that has not said who it is: it denies everything.
_NO_POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Who asks: the sandbox's name, the policy that holds for it and where that is from, its fakes by credential name,
    and until when (seconds since the epoch) its token holds. `named` is the policy that the token names; None without
    a token, where the only policy holds.
    """

    name: str
    policy: Policy
    serving: Serving
    placeholders: Mapping[str, str] = field(default_factory=dict)
    named: str | None = None
    expires: float = math.inf

    @property
    def secrets(self) -> SecretStore:
        """The secrets of this very policy."""
        return self.serving.secrets[self.policy.name]


@dataclass(frozen=True, slots=True)
class Bound:
    """Who comes in on a socket that was made for one sandbox: its name, the policy that holds for it, its boundary.

    `number` tells it from every other one of this proxy, former ones of the same name included.
    """

    number: int
    sandbox: str
    policy: str
    boundary: Boundary


@dataclass(slots=True)
class Session:
    """State of one client connection. A new one may reach nothing.

    `bound` says whose socket it came in on; None on the one that is for all, where clients say who they are.
    `target` is the CONNECT target, `barred` a reason that refuses everything more on this connection,
    `grants` the destinations that decisions on this connection allow to dial, by (host, port).
    `open` holds the exchanges that are not recorded yet, `challenged` one that was answered 407 and may be tried again.
    `connecting` is the CONNECT of a tunnel that is to be intercepted, until it is.
    `head_since` is when the client began a head or a handshake that it has not finished (`time.monotonic`).
    """

    client: str
    bound: Bound | None = None
    sandbox: Sandbox | None = None
    target: Authority | None = None
    connect: ConnectDecision = field(default_factory=ConnectDecision)
    barred: tuple[Reason, str] | None = None
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    open: dict[str, Exchange] = field(default_factory=dict)
    challenged: Exchange | None = None
    connecting: Exchange | None = None
    head_since: float | None = field(default_factory=time.monotonic)
    _refusals: Budget = field(default_factory=lambda: Budget(limits.MAX_REFUSALS, limits.REFUSALS_TIME))

    @property
    def asker(self) -> tuple[str, str]:
        """Who uses a share of what all have together. Two sandboxes of the same name and policy are one."""
        if self.sandbox is not None:
            return self.sandbox.name, self.sandbox.policy.name
        return ("", "") if self.bound is None else (self.bound.sandbox, self.bound.policy)

    @property
    def quiet(self) -> bool:
        """Whether nothing runs on it: at most a CONNECT, in which nothing was asked yet, waits for its request."""
        return not self.open or (len(self.open) == 1 and self.connecting is not None)

    def new_exchange(self) -> Exchange:
        """An exchange that is denied until a decision says otherwise."""
        sandbox = self.sandbox
        exchange = Exchange(
            sandbox="" if sandbox is None else sandbox.name,
            policy=_NO_POLICY if sandbox is None else sandbox.policy,
            client=self.client,
            boundary=None if self.bound is None else self.bound.boundary,
        )
        self.open[exchange.id] = exchange
        return exchange

    def refused_too_often(self) -> bool:
        """Count a request that got nothing, as it costs a line of the record; whether it is the last one here.

        One too many has the next one refused for that, so that the client is told; with it the connection ends.
        """
        barred = self.barred
        if barred is not None and barred[0] is Reason.LIMIT_EXCEEDED:
            return True
        if self._refusals.spend():
            return False
        self.bar(Reason.LIMIT_EXCEEDED, "too many requests on this connection were refused")
        return barred is not None

    def forget_grants(self) -> None:
        """Take back leave to dial that no request needs any more; the next one brings its own."""
        needed = {(each.host.name, each.port) for each in self.open.values() if each.host is not None}
        for destination in [each for each in self.grants if each not in needed]:
            del self.grants[destination]

    def bar(self, reason: Reason, detail: str) -> None:
        """Refuse everything more on this connection, and take back every leave to dial. The first reason stays."""
        self.barred = self.barred or (reason, detail)
        self.grants.clear()
