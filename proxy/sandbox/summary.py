"""What a run reached and what was refused, in ten lines at most: from its audit log, when the command has ended."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from proxy.policy.reason import WORDING, Reason
from proxy.quantity import counted
from proxy.review.seen import Seen

_MOST_REACHED = 4
_MOST_REFUSED = 5


@dataclass(frozen=True, slots=True)
class Refused:
    """One kind of refusal: what was asked for, and why it was refused."""

    host: str
    port: int
    reason: Reason


@dataclass(slots=True)
class Summary:
    """Requests by host that passed, refusals by kind, and how often a real credential was sent, by its name.

    `observed` counts what `mode: observe` let pass.
    """

    reached: Counter[str] = field(default_factory=Counter)
    refused: Counter[Refused] = field(default_factory=Counter)
    credentials: Counter[str] = field(default_factory=Counter)
    observed: int = 0

    def as_json(self) -> dict[str, object]:
        """The summary as one JSON value: lists, the most frequent first."""
        return {
            "reached": [{"host": host, "requests": count} for host, count in self.reached.most_common()],
            "refused": [
                {"host": kind.host, "port": kind.port, "reason": kind.reason.value, "requests": count}
                for kind, count in self.refused.most_common()
            ],
            "credentials": dict(self.credentials.most_common()),
            "observed": self.observed,
        }

    def lines(self) -> Iterator[str]:
        """At most ten lines for a terminal."""
        passed, refused = self.reached.total(), self.refused.total()
        yield f"{counted(passed, 'request')} passed, {refused} refused"
        if passed:
            yield "reached: " + _named(f"{host} {count}" for host, count in self.reached.most_common())
        if self.credentials:
            yield "credentials sent: " + _named(f"{name} {count}" for name, count in self.credentials.most_common())
        if self.observed:
            yield f"{self.observed} of these would be refused without `mode: observe`"
        for kind, count in self.refused.most_common(_MOST_REFUSED):
            port = "" if kind.port in {0, 443} else f":{kind.port}"
            why = f"{WORDING[kind.reason].title} ({kind.reason})"
            yield f"refused {counted(count, 'time')}: {kind.host or 'no host'}{port}, {why}"
        if len(self.refused) > _MOST_REFUSED:
            yield f"and {counted(len(self.refused) - _MOST_REFUSED, 'more kind')}"


def summarise(events: Iterable[Seen]) -> Summary:
    """Count what is in a log. What was asked of Outgate itself is left out, and where nothing was."""
    summary = Summary()
    for event in events:
        if event.internal or event.asked_nothing:
            continue
        host = "" if event.host is None else event.host.name
        if not event.passed:
            summary.refused[Refused(host, event.port, event.reason)] += 1
            continue
        summary.reached[host] += 1
        summary.observed += event.observed
        if event.credential is not None and event.not_injected is None:
            summary.credentials[event.credential] += 1
    return summary


def _named(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_MOST_REACHED]) + (
        f" and {len(found) - _MOST_REACHED} more" if len(found) > _MOST_REACHED else ""
    )
