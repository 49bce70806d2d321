"""Which rules have a say in a request: those that can match it, and those that say how it is read by being there."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from proxy.policy.overlap import overlap
from proxy.policy.path import PathPattern, folded_segment, read_path, split_encoded_slashes
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.effect import Asking, Budget
from proxy.review.paths import Kind, PathClass
from proxy.review.regions import Endpoint, Speaking

_MOST_PAIRS = 200_000


def meets(rule: Rule, endpoint: Endpoint, method: str) -> bool:
    return (rule.endpoints is None or (endpoint.scheme, endpoint.port) in rule.endpoints) and (
        rule.methods is None or method in rule.methods
    )


def matching(path: PathClass, rules: Sequence[Rule], budget: Budget) -> list[Rule]:
    """Those of the rules that can match a path in one of its readings, as allow rules or as deny rules."""
    budget.spend(len(rules))
    readings = [read_path(path.target, keep_encoded_slash=path.kind is Kind.SLASH)]
    if path.kind is Kind.SLASH:
        readings.append(split_encoded_slashes(path.target))
    readings += [tuple(folded_segment(segment) for segment in segments) for segments in readings]
    readings += [segments[:-1] for segments in readings if segments[-1] == ""]
    readings = list(dict.fromkeys(readings))
    return [
        rule
        for rule in rules
        if rule.paths is None
        or any(each.matches(reading) for pattern in rule.paths for each in _read(pattern) for reading in readings)
    ]


def whole(policy: Policy, path: PathClass) -> bool:
    """Whether rules that cannot match a path have a say in it all the same, each of them.

    While observing, that is so for an encoded slash too: how near each rule comes decides whether it is let pass.
    """
    return path.kind is Kind.UNREADABLE or (policy.observe and path.kind is Kind.SLASH)


def cut_down(asking: Asking, speaks: Speaking, path: PathClass) -> Policy | None:
    """The policy with no more than the rules about one host that have a say in a path, if that can be told."""
    if whole(asking.policy, path):
        return None
    can = speaks.allow if path.kind is Kind.PLAIN else speaks.keeping
    allow, deny = (matching(path, rules, asking.budget) for rules in (can, speaks.deny))
    # Whether there are such rules at all says how a path is read, and what observing lets pass.
    allow = _each_once((*allow, *speaks.examples))
    deny = _each_once((*deny, *speaks.denying))
    return replace(asking.policy, allow=RuleIndex.of(allow), deny=RuleIndex.of(deny), rules=(*allow, *deny))


def reading_of(speaks: Speaking) -> tuple[bool, bool]:
    """All that rules say of how a path is read that has an encoded slash, beside what those that match it say."""
    allow = [rule for rule in speaks.allow if rule.inspect and rule.paths is not None]
    return bool(allow) or bool(speaks.denying), all(rule.keep_encoded_slash for rule in allow)


def near(speaks: Speaking, rules: Sequence[Rule], *, by_path: bool = False) -> Speaking:
    """Those of the rules about one host that can match a request which one of these allow rules matches, and more.

    With `by_path`, those that can match a path which one of them matches, and what says how a path is read.
    Every deny rule is taken for near.
    """
    if len(rules) * len(speaks.allow) > _MOST_PAIRS:
        return speaks
    ours = [_only_paths(rule) for rule in rules] if by_path else rules
    found = [
        rule
        for rule in speaks.allow
        if not rule.inspect or any(overlap(_only_paths(rule) if by_path else rule, each) for each in ours)
    ]
    return Speaking(tuple(_each_once((*found, *(speaks.examples if by_path else ())))), speaks.deny)


def _only_paths(rule: Rule) -> Rule:
    return replace(rule, endpoints=None, methods=None, query=())


def _each_once(rules: Iterable[Rule]) -> list[Rule]:
    return list({rule.id: rule for rule in rules}.values())


@lru_cache(maxsize=50_000)
def _read(pattern: PathPattern) -> tuple[PathPattern, ...]:
    """A pattern as an allow rule reads it, and as a deny rule does where that is another one."""
    folded = PathPattern(tuple(word and folded_segment(word) for word in pattern.segments), pattern.rest)
    return (pattern,) if folded == pattern else (pattern, folded)
