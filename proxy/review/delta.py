"""How what two policies do with one request differs."""

from dataclasses import dataclass
from enum import StrEnum

from proxy.review.effect import Asking, Effect
from proxy.review.hosts import HostClass


class Kind(StrEnum):
    """What became of a request, in the order in which a reviewer wants to know."""

    NOT_COMPARED = "not_compared"
    ALLOWED = "newly_allowed"
    CHANGED = "changed"
    UNDENIED = "no_longer_denied"
    DENIED = "newly_denied"
    REMOVED = "no_longer_allowed"


@dataclass(frozen=True, slots=True)
class Delta:
    """How the effects of both policies on one request differ. `gained` and `lost` are spans of addresses.

    `old_rule` and `new_rule` are the rules that decided: for what was or is denied, the deny rule.
    """

    kind: Kind
    old: Effect
    new: Effect
    old_rule: str | None
    new_rule: str | None
    was_expired: bool
    gained: frozenset[int]
    lost: frozenset[int]


def delta_of(old: Effect, new: Effect, host: HostClass, asking: Asking) -> Delta:
    kind = _kind(old, new)
    gained, lost = new.reach - old.reach, old.reach - new.reach
    if kind is Kind.ALLOWED:  # that public addresses come with a new host goes without saying
        gained -= asking.reach(())
    if host.span is not None:
        gained = lost = frozenset()
    return Delta(
        kind,
        old,
        new,
        old.rule if old.passes or old.denied else None,
        new.rule if new.passes or new.denied else None,
        old.expired and new.passes,
        gained,
        lost if kind is Kind.CHANGED else frozenset(),
    )


def _kind(old: Effect, new: Effect) -> Kind:
    if old.passes and new.passes:
        return Kind.CHANGED
    if new.passes:
        return Kind.ALLOWED
    if new.denied and not old.denied:
        return Kind.DENIED
    return Kind.REMOVED if old.passes else Kind.UNDENIED
