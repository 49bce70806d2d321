"""How often a sandbox was refused the same, so that it is told more plainly and its operator hears of it.

Counted in each worker alone: with several, the words change a little later.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

import structlog

from proxy import limits
from proxy.exchange import Exchange
from proxy.internal.recent import Recent
from proxy.policy.reason import WORDING, Reason

log = structlog.get_logger("internal")

# What a client does against these is to wait, to mend its request or to show a token.
_UNCOUNTED = frozenset({Reason.LIMIT_EXCEEDED, Reason.MALFORMED_REQUEST, Reason.UNAUTHENTICATED})
# Another method or path of the same host could pass.
_OF_A_REQUEST = frozenset(
    {
        Reason.METHOD_NOT_ALLOWED,
        Reason.PATH_NOT_ALLOWED,
        Reason.QUERY_NOT_ALLOWED,
        Reason.DENIED_BY_RULE,
        Reason.AMBIGUOUS_PATH,
        Reason.RULE_EXPIRED,
    }
)
_DIGIT = re.compile(r"[0-9]")


@dataclass(slots=True)
class _Count:
    times: int = 0
    last: float = 0.0


def _targets() -> Recent[int, _Count]:
    return Recent(limits.MAX_REPEATED, _Count)


@dataclass
class Repeats:
    """Counts by sandbox and target."""

    _sandboxes: Recent[tuple[str, str], Recent[int, _Count]] = field(
        default_factory=lambda: Recent(limits.MAX_COUNTED, _targets)
    )

    def note(self, exchange: Exchange, now: float) -> None:
        """Count a refused exchange, note in it if it comes again and again, and tell the operator once."""
        times = self.count(exchange, now)
        if times < limits.REPEATED:
            return
        exchange.repeated = times
        if times == limits.REPEATED:
            log.warning(
                "a sandbox is refused the same again and again",
                sandbox=exchange.sandbox,
                policy=exchange.policy.name,
                reason=str(exchange.decision.reason),
                host=None if exchange.host is None else exchange.host.name,
                port=exchange.port,
                times=times,
                id=exchange.id,
            )

    def count(self, exchange: Exchange, now: float) -> int:
        """Count a refused exchange; how often the same was refused, 0 where that says nothing. `now` is monotonic."""
        reason = exchange.decision.reason
        if not exchange.policy.name or reason in _UNCOUNTED or not WORDING[reason].deliberate:
            return 0
        found = self._sandboxes[exchange.sandbox, exchange.policy.name][hash(_target(exchange, reason))]
        if now - found.last > limits.REPEATED_TIME:
            found.times = 0
        found.times, found.last = found.times + 1, now
        return found.times


def _target(exchange: Exchange, reason: Reason) -> Hashable:
    """What counts as the same. A segment of a path with a digit in it is taken for an id."""
    host = None if exchange.host is None else exchange.host.name
    if reason not in _OF_A_REQUEST:
        return host, exchange.port, reason
    path = ["*" if _DIGIT.search(segment) else segment for segment in exchange.path.split("/")]
    return host, exchange.port, reason, exchange.method, "/".join(path)
