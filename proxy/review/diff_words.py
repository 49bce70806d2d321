"""A change in words: one sentence, and its details under labels."""

from collections.abc import Iterator, Sequence

from proxy.review.boxes import ANY_METHOD, listed
from proxy.review.changes import Change, PolicyDiff
from proxy.review.delta import Kind
from proxy.review.effect import Effect, Secret
from proxy.review.marks import NAMES

type Fact = tuple[str, str]

TITLES = {
    Kind.NOT_COMPARED: "too complex to compare",
    Kind.ALLOWED: "newly allowed",
    Kind.CHANGED: "still allowed, but differently",
    Kind.UNDENIED: "no longer denied by a rule, yet not allowed",
    Kind.DENIED: "newly denied by a rule",
    Kind.REMOVED: "no longer allowed",
}
_HOSTS = 3


def about(diff: PolicyDiff) -> str:
    """What became of one policy."""
    match diff.status:
        case "added":
            return "a new policy; all that it allows is new" if diff.changes else "a new policy; it allows nothing"
        case "removed":
            return "this policy is gone, and sandboxes that name it have none"
        case status:
            return "no difference in meaning" if status == "unchanged" else _more(diff)


def _more(diff: PolicyDiff) -> str:
    if not diff.changes:
        return "every request fares as before"
    return "allows more than before" if diff.widening else "allows nothing that it did not allow before"


def sentence(change: Change) -> str:
    """The change without its details: who may send what where."""
    hosts = list(change.hosts[:_HOSTS])
    if len(change.hosts) > _HOSTS:
        hosts.append(f"{len(change.hosts) - _HOSTS} more")
    where = listed(hosts)
    if change.kind is Kind.NOT_COMPARED:
        return f"requests to {where}"
    tunnel = change.delta is not None and change.delta.new.tunnel and change.delta.new.passes
    what = listed(change.methods)
    if tunnel:
        what = f"{'everything' if change.methods == ANY_METHOD else what}, unseen in a tunnel,"
    return f"{what} to {where}"


def idle(change: Change) -> bool:
    """Whether nothing passes, before or after: what only deny rules say differently."""
    return change.delta is not None and not change.delta.old.passes and not change.delta.new.passes


def facts(diff: PolicyDiff, change: Change) -> Iterator[Fact]:
    """The details, each under a label."""
    yield from ((label, value) for label, value in _facts(diff, change) if value)


def _facts(diff: PolicyDiff, change: Change) -> Iterator[Fact]:
    if change.marks:
        yield "marks", ", ".join(NAMES[mark] for mark in change.marks)
    if len(change.hosts) > _HOSTS:
        yield "hosts", ", ".join(change.hosts)
    if change.delta is None:
        yield "why", f"{change.why}; treated as widening, read these rules yourself"
        yield "rules", ", ".join(change.rules)
        return
    delta = change.delta
    if idle(change):
        rule = diff.rule(delta.new_rule, new=True) if delta.new.denied else diff.rule(delta.old_rule, new=False)
        named = f"{'' if delta.new.denied else 'was '}{rule.id} ({rule.where})" if rule else ""
        yield "rule", f"{named}; what it denies is allowed by no rule, before and now"
    yield "over", ", ".join(change.endpoints)
    yield "paths", _but(", ".join(change.paths) or "any", change.but)
    yield "query", _but(" or ".join(change.queries), change.queries_but)
    yield "days", change.days
    if idle(change):
        return
    yield from _effects(delta.old, delta.new)
    if change.gained:
        yield "addresses", f"names may now resolve into {', '.join(change.gained)}"
    if change.lost:
        yield "addresses", f"names may no longer resolve into {', '.join(change.lost)}"
    yield "now", _verdict(delta.new, delta.new_rule, diff, new=True)
    yield "before", _verdict(delta.old, delta.old_rule, diff, new=False)


def _but(text: str, excepted: Sequence[str]) -> str:
    return f"{text}; except {', '.join(excepted)}" if excepted else text


def _effects(old: Effect, new: Effect) -> Iterator[Fact]:
    if new.passes and new.secret != old.secret:
        yield "credential", sent(new.secret) + (f"; before: {sent(old.secret)}" if old.passes else "")
    elif new.passes and new.secret is not None:
        yield "credential", sent(new.secret)
    if old.passes and old.secret is not None and not new.passes:
        yield "credential", f"no longer sent there: {old.secret.source} ({old.secret.name})"
    if old.passes and new.passes and old.tunnel != new.tunnel:
        yield "inspection", "off: only host and port are checked" if new.tunnel else "on, it was a tunnel before"
    if new.passes and new.http2 != old.http2:
        yield "http2", "offered to clients" if new.http2 else "no longer offered to clients" if old.passes else ""
    if new.passes and not new.tunnel and new.trace_context != (old.trace_context or old.tunnel):
        yield "trace", f"the client's trace headers {'' if new.trace_context else 'no longer '}go upstream"


def sent(secret: Secret | None) -> str:
    """How a secret goes out."""
    if secret is None:
        return "no secret is sent"
    inject = secret.inject
    if inject is None:
        how = f"as {secret.provider} wants it"
    elif inject.header is not None:
        how = f"in the header {inject.header} as {inject.format}"
    elif inject.query is not None:
        how = f"in the query as {inject.query}"
    else:
        how = "as a bearer token" if inject.bearer else f"as the password of {inject.basic}"
    replaces = ", in place of a key that the client brings" if secret.replaces else ""
    return f"{secret.source} ({secret.name}) is sent {how}{replaces}"


def _verdict(effect: Effect, rule_id: str | None, diff: PolicyDiff, *, new: bool) -> str:
    rule = diff.rule(rule_id, new=new)
    named = "" if rule is None else f" by {rule.id} ({rule.where})"
    if effect.passes:
        return "passes in observe mode, allowed by no rule" if effect.observed else f"allowed{named}"
    if effect.denied:
        return f"denied{named or ' by a deny rule for addresses'}"
    return "allowed by no rule" + (" that has not expired" if effect.expired else "")
