"""What of a log a policy could be made of: the requests that passed, each once, and what is left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from proxy.config.texts import MAX_PATH
from proxy.policy.decide import Decision
from proxy.policy.host import Host
from proxy.policy.path import AmbiguousPath, PathPattern, Segments, read_path
from proxy.policy.reason import Reason
from proxy.policy.rules import NEVER_METHODS
from proxy.review.judge import Judge, request_of
from proxy.review.proposal import Tally
from proxy.review.replay import Filter
from proxy.review.seen import Seen
from proxy.review.snippet import path_text

MAX_ASKS = 20_000  # different requests that are held; those beyond are left out, and counted
CREDENTIAL = "credential:"  # in front of the name of a credential that was sent, among the notes
MAX_LEFT_OUT = 500  # different reasons for leaving out that are told apart


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, whatever its query: `segments` is the path, read once. A tunnel has no scheme and no path.

    `raw` is the path as it was sent where `paths` of no rule can name it; then there are no segments.
    """

    host: Host
    port: int
    scheme: str
    method: str
    segments: Segments = ()
    raw: str = ""

    @property
    def tunnel(self) -> bool:
        return self.method == "CONNECT"


@dataclass
class Gathered:
    """`asks` are to be proposed; `notes` says of some what to think about. `left_out` is by reason, in words.

    `denied` is what deny rules refused, by host, as method and path: no general pattern may reach it.
    """

    asks: dict[Ask, Tally] = field(default_factory=dict)
    notes: dict[Ask, set[str]] = field(default_factory=dict)
    left_out: dict[str, Tally] = field(default_factory=dict)
    denied: dict[Host, set[tuple[str, Segments]]] = field(default_factory=dict)
    covered: int = 0  # events that the current policy allows
    filtered: int = 0

    def leave(self, tally: Tally, why: str) -> None:
        """Count what is left out."""
        if why not in self.left_out and len(self.left_out) >= MAX_LEFT_OUT:
            why = "other reasons"
        _count(self.left_out, why, tally)

    def drop(self, ask: Ask, why: str) -> None:
        """Leave out what was to be proposed."""
        self.leave(self.asks.pop(ask), why)


def gather(events: Iterable[Seen], wanted: Filter, judge: Judge | None, today: date) -> Gathered:
    """Read the events. `judge` is of the current policy: what it allows is covered, what it denies is left out."""
    found = Gathered()
    for seen in events:
        if not wanted.takes(seen):
            found.filtered += 1
        elif not seen.passed:
            _remember(found, seen)
            found.leave(Tally.of(seen), _refused(seen))
        else:
            _take(found, seen, judge, today)
    return found


def _take(found: Gathered, seen: Seen, judge: Judge | None, today: date) -> None:
    ask = _ask(seen)
    if isinstance(ask, str):
        found.leave(Tally.of(seen), ask)
        return
    notes = _notes(seen)
    if judge is not None:
        again = judge.decide(seen, today)
        if again is not None:
            if ask.tunnel and again.depends:
                found.leave(Tally.of(seen), "a tunnel to what the current policy inspects")
                return
            if again.decision.allowed:
                found.covered += 1
                return
            if forbidden := _forbidden(again.decision):
                found.leave(Tally.of(seen), forbidden)
                return
            notes |= _near(again.decision, again.depends)
    if ask not in found.asks and len(found.asks) >= MAX_ASKS:
        found.leave(
            Tally.of(seen), f"more than {MAX_ASKS} different requests; narrow the log with --since or --sandbox"
        )
        return
    _count(found.asks, ask, Tally.of(seen))
    if notes:
        found.notes.setdefault(ask, set()).update(notes)


def _ask(seen: Seen) -> Ask | str:
    """The request, or why no rule can name it."""
    if seen.host is None or not seen.port:
        return "no host on record"
    if seen.asked_nothing:
        return "a CONNECT in which nothing was asked"
    if seen.tunnel:
        return Ask(seen.host, seen.port, "", "CONNECT", ())
    if request_of(seen) is None or seen.method in NEVER_METHODS:
        return "the record is cut, or no request"
    segments = _segments(seen.path)
    return Ask(seen.host, seen.port, seen.scheme, seen.method, segments, "" if segments else seen.path)


def _segments(path: str) -> Segments:
    """The path as a rule can name it; empty where none can: servers differ in how they read it, or it holds a star."""
    try:
        segments = read_path(path, keep_encoded_slash=True)
    except AmbiguousPath:
        return ()
    if any("*" in segment for segment in segments) or len(path_text(PathPattern(segments))) > MAX_PATH:
        return ()
    return segments


def _remember(found: Gathered, seen: Seen) -> None:
    """Keep in mind what a deny rule refused; a path without a reading as no segments."""
    if seen.host is None or seen.rule is None or seen.reason not in (Reason.DENIED_BY_RULE, Reason.AMBIGUOUS_PATH):
        return
    denied = found.denied.setdefault(seen.host, set())
    if len(found.denied) + len(denied) <= MAX_ASKS:
        denied.add((seen.method, _segments(seen.path)))


def _refused(seen: Seen) -> str:
    if seen.reason is Reason.DENIED_BY_RULE:
        return f"refused by the deny rule {seen.rule}, which the policy should keep"
    if seen.tunnel and seen.reason is Reason.PROTOCOL_NOT_ALLOWED and seen.host is not None:
        place = f"{seen.host.url_form}:{seen.port}"
        return f"the client made no request to {place}; if it pins a certificate, it needs `inspect: false`"
    return f"refused: {seen.reason}"


def _forbidden(decision: Decision) -> str:
    if decision.reason is Reason.DENIED_BY_RULE or (decision.reason is Reason.AMBIGUOUS_PATH and decision.rule):
        return f"the rule {decision.rule} denies it"
    return ""


def _notes(seen: Seen) -> set[str]:
    """What the record says of an exchange that a reviewer of the new rule should know."""
    notes = set()
    if seen.credential is not None and not seen.not_injected:
        notes.add(CREDENTIAL + seen.credential)
    if seen.upstream_ip is not None and seen.upstream_ip.is_private and not seen.observed and seen.host is not None:
        if seen.host.address is None:
            notes.add(
                f"it was reached at the private address {seen.upstream_ip}: "
                "unless --connect-to leads there, the rule needs that address in `addresses`"
            )
    return notes


def _near(decision: Decision, depends: str) -> set[str]:
    if depends:
        return {f"whether the current policy allows it depends on {depends}"}
    if decision.reason is Reason.QUERY_NOT_ALLOWED:
        return {f"the rule {decision.nearest} asks for a query, this one allows any"}
    if decision.reason is Reason.RULE_EXPIRED:
        return {f"the rule {decision.nearest} allowed it and has expired"}
    return set()


def _count[K](tallies: dict[K, Tally], key: K, tally: Tally) -> None:
    if key in tallies:
        tallies[key].add(tally)
    else:
        tallies[key] = tally
