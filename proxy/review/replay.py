"""A log decided again under candidate policies: what would change, grouped so that it can be read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from proxy.policy.reason import Reason
from proxy.policy.rules import Policy
from proxy.review.judge import Again, Judge
from proxy.review.seen import Seen
from proxy.review.shapes import shape_of

MAX_GROUPS = 5000  # beyond which events are counted under `(more)` for their outcome

# What is refused before a policy is asked, or whatever it says.
_NOT_THE_POLICY = frozenset(
    {
        Reason.AUTHORITY_MISMATCH,
        Reason.PROTOCOL_NOT_ALLOWED,
        Reason.MALFORMED_REQUEST,
        Reason.UNAUTHENTICATED,
        Reason.POLICY_ERROR,
    }
)
# Refused after the policy had allowed it, for what another policy could change: its credential, or what it opens.
_TURNS_ON = {
    Reason.CREDENTIAL_WRONG_HOST: "the headers: the request carried a placeholder",
    Reason.CLIENT_CREDENTIAL_REFUSED: "the headers: the request brought a credential of its own",
    Reason.CREDENTIAL_UNAVAILABLE: "the credential: it could not be read",
    Reason.ADDRESS_IS_PRIVATE: "the address: the host resolved to a private one",
}


class Outcome(StrEnum):
    """What a candidate policy means for a recorded event."""

    REFUSED = "refused"  # passed, and would not
    PASSED = "passed"  # was refused, and would pass
    DEPENDS = "depends"  # on something that is not on record
    CHANGED = "changed"  # the same verdict for another reason, by another rule or with another credential
    UNJUDGED = "unjudged"  # no policy decided it, or its record is cut
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Side:
    """What was, or would be, decided. `nearest` says which rule came closest; it is no part of the decision."""

    passes: bool
    reason: str
    rule: str | None = None
    credential: str | None = None
    tunnel: bool = False
    nearest: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a candidate means for one event; `depends` says on what, or why it could not be judged."""

    outcome: Outcome
    before: Side
    after: Side | None = None
    depends: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What was asked, in the shape of its path: `*` stands for a segment that looks like an id."""

    method: str = ""
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = "(more)"


@dataclass(slots=True)
class Group:
    """Events that are alike. `example` is the id and the URL of the first one that was read."""

    judged: Judged
    place: Place
    first: datetime
    last: datetime
    example: tuple[str, str]
    count: int = 0


@dataclass
class Replay:
    """The result. `totals` counts every event that was judged; groups are there for all that is not unchanged."""

    totals: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    other: int = 0  # events of policies for which there is no candidate
    filtered: int = 0
    groups: list[Group] = field(default_factory=list)

    @property
    def judged(self) -> int:
        return sum(self.totals.values())


@dataclass(frozen=True)
class Filter:
    """Which events are looked at: those of some sandboxes, those since a time. Nothing set means all."""

    sandboxes: frozenset[str] = frozenset()
    since: datetime | None = None

    def takes(self, seen: Seen) -> bool:
        if self.since is not None and seen.time < self.since:
            return False
        return not self.sandboxes or seen.sandbox in self.sandboxes


def replay(
    events: Iterable[Seen],
    candidates: Mapping[str | None, Policy],
    wanted: Filter = Filter(),
    today: date | None = None,
) -> Replay:
    """Decide events again. `candidates` are policies by the name that they stand in for; None stands for every name.

    `today` is the day that `expires` is compared with; each event's own day unless given.
    """
    result = Replay()
    judges = {name: Judge(policy) for name, policy in candidates.items()}
    groups: dict[tuple[Judged, Place], Group] = {}
    for seen in events:
        if not wanted.takes(seen):
            result.filtered += 1
            continue
        # An event without a policy was refused before anyone knew which one holds: it belongs to all of them.
        judge = judges.get(seen.policy, judges.get(None))
        if judge is None and seen.policy is not None:
            result.other += 1
            continue
        judged = classify(seen, judge, today)
        result.totals[judged.outcome] += 1
        if judged.outcome is not Outcome.UNCHANGED:
            _add(groups, seen, judged)
    order = list(Outcome)
    result.groups = sorted(
        groups.values(), key=lambda group: (order.index(group.judged.outcome), -group.count, group.first)
    )
    return result


def classify(seen: Seen, judge: Judge | None, today: date | None = None) -> Judged:
    """What a candidate means for one event. `today` is the event's own day unless given."""
    before = _before(seen)
    if judge is None:
        return Judged(Outcome.UNJUDGED, before, depends="no policy was known yet")
    day = today or seen.time.date()
    if seen.reason in _NOT_THE_POLICY:
        return _not_the_policy(seen, judge, before, day)
    if seen.digest is not None and seen.digest == judge.policy.digest and day == seen.time.date():
        return Judged(Outcome.UNCHANGED, before, before)  # decisions depend on policy, request and day alone
    again = judge.again(seen, day)
    if again is None:
        return Judged(Outcome.UNJUDGED, before, depends="the record is cut, so the request cannot be made again")
    after = _after(seen, again, judge.policy)
    turning = again.depends or (_TURNS_ON.get(seen.reason, "") if after.passes else "")
    if turning:
        return Judged(Outcome.DEPENDS, before, after, turning)
    return Judged(_compare(seen, before, after), before, after)


def _compare(seen: Seen, before: Side, after: Side) -> Outcome:
    if before.passes and not after.passes:
        return Outcome.REFUSED
    if after.passes and not before.passes:
        # Refused for what no policy says, an upstream that did not answer: the policy had allowed it then, too.
        return Outcome.PASSED if _by_policy(seen.reason) else Outcome.UNCHANGED
    return Outcome.UNCHANGED if before == after else Outcome.CHANGED


def _not_the_policy(seen: Seen, judge: Judge, before: Side, day: date) -> Judged:
    if seen.tunnel and seen.reason is Reason.PROTOCOL_NOT_ALLOWED:
        again = judge.decide(seen, day)
        if again is not None and again.tunnel and again.decision.allowed:
            why = "the client: it would get a tunnel, where it did not take up the inspected connection"
            return Judged(Outcome.DEPENDS, before, _after(seen, again, judge.policy), why)
    return Judged(Outcome.UNJUDGED, before, depends="no policy decides this")


def _by_policy(reason: Reason) -> bool:
    return str(reason).endswith("_not_allowed") or reason in (
        Reason.DENIED_BY_RULE,
        Reason.RULE_EXPIRED,
        Reason.AMBIGUOUS_PATH,
    )


def _before(seen: Seen) -> Side:
    credential = None if seen.not_injected or not seen.passed else seen.credential
    return Side(seen.passed, str(seen.reason), seen.rule, credential, seen.tunnel and seen.passed, seen.nearest)


def _after(seen: Seen, again: Again, policy: Policy) -> Side:
    decision = again.decision
    spec = policy.credentials.get(decision.credential or "") if decision.allowed else None
    sent = spec is not None and seen.host is not None and spec.bound_to(seen.host) and seen.scheme == "https"
    return Side(
        decision.allowed,
        str(decision.reason),
        decision.rule,
        decision.credential if sent else None,
        again.tunnel and decision.allowed,
        decision.nearest,
    )


def _add(groups: dict[tuple[Judged, Place], Group], seen: Seen, judged: Judged) -> None:
    if judged.outcome is Outcome.UNJUDGED:  # whatever was asked, it is the reason that tells
        place, judged = Place(path=""), replace(judged, before=Side(judged.before.passes, judged.before.reason))
    else:
        host = "" if seen.host is None else seen.host.url_form
        place = Place(seen.method, seen.scheme, host, seen.port, shape_of(seen.path) if seen.path else "")
    if (judged, place) not in groups and len(groups) >= MAX_GROUPS:
        place, judged = Place(), Judged(judged.outcome, Side(judged.before.passes, "(more)"))
    group = groups.get((judged, place))
    if group is None:
        example = (seen.id, f"{seen.method} {seen.url}")
        group = groups[judged, place] = Group(judged, place, seen.time, seen.time, example)
    group.count += 1
    group.first, group.last = min(group.first, seen.time), max(group.last, seen.time)
