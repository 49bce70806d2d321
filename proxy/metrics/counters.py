"""What one worker counts. On the path of every request, so it is a few additions; reading is done elsewhere.

Counts only grow, and a worker that replaces another one goes on with its counts. Names come from policies, never from
clients, and there are at most `MAX_NAMES` of a kind: what clients ask for cannot make new series.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds of the buckets of `seconds`, in seconds; one more bucket has the rest."""
MAX_NAMES = 256
OTHER = "(other)"
INJECTED, FAILED = "injected", "failed"


class _Ended(Protocol):
    """What of an exchange is counted."""

    decision: Any
    sent: bool
    credential: str | None
    injected: bool
    not_injected: str | None
    bytes_in: int
    bytes_out: int


@dataclass
class Counters:
    """`decisions` by verdict and reason, `credentials` by name and outcome; bytes from and to upstreams.

    `buckets` and `seconds` are the histogram of the time from a head to its decision on record.
    """

    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    credentials: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def decided(self, seconds: float) -> None:
        """Count one decision that took so long."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def ended(self, exchange: _Ended) -> None:
        """Count an exchange whose event is written, with the verdict that stands there."""
        decision = exchange.decision
        self.decisions["allow" if decision.allowed or exchange.sent else "deny", decision.reason] += 1
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        if exchange.credential is not None and (exchange.injected or exchange.not_injected):
            key = exchange.credential, INJECTED if exchange.injected else FAILED
            if key not in self.credentials and len(self.credentials) >= MAX_NAMES:
                key = OTHER, key[1]
            self.credentials[key] += 1

    def values(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "decisions": [[verdict, str(reason), count] for (verdict, reason), count in self.decisions.items()],
            "credentials": [[name, outcome, count] for (name, outcome), count in self.credentials.items()],
            "bytes": [self.bytes_in, self.bytes_out],
            "buckets": self.buckets,
            "seconds": self.seconds,
        }

    def resume(self, values: dict[str, Any]) -> None:
        """Go on from what a predecessor had counted."""
        self.decisions = _counted(values["decisions"])
        self.credentials = _counted(values["credentials"])
        self.bytes_in, self.bytes_out = values["bytes"]
        self.buckets, self.seconds = list(values["buckets"]), values["seconds"]


def _counted(rows: Sequence[Sequence[Any]]) -> Counter[tuple[str, str]]:
    return Counter({(one, other): count for one, other, count in rows})
