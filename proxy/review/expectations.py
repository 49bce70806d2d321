"""Expectations held against a policy: which of them fail and how, and which rules none of them touches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from proxy.policy.decide import Decision
from proxy.policy.host import Authority
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review.asked import Asked, Verdict, judge
from proxy.review.sections import rules_in
from proxy.review.suite import Case, Suite

_COUNTED = (Reason.DENIED_BY_RULE, Reason.AMBIGUOUS_PATH)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One expectation and what was found. `where` is the place of the request, or of the first thing that differs.

    `expected` and `found` are words for people; `touched` the rules that made the verdict.
    """

    policy: str
    where: str
    request: str
    passed: bool
    expected: str
    found: str
    why: str
    touched: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A rule that no expectation touches. `section` is `allow` or `deny`, `where` is `file:line`."""

    rule: str
    where: str
    section: str


def run(suite: Suite, policy: Policy, today: date) -> Iterator[Outcome]:
    """Hold every expectation of a suite against its policy. The suite's own `today` beats the one given."""
    day = suite.model.today or today
    for index, case in enumerate(suite.model.cases):
        verdict = judge(policy, case.request, day)
        wrong = [key for key in ("expect", "reason", "rule", "credential") if not _holds(key, case, policy, verdict)]
        yield Outcome(
            policy=policy.name,
            where=suite.where(index, wrong[0] if wrong else "request"),
            request=suite.text(index),
            passed=not wrong,
            expected=", ".join(_expected(case)),
            found=", ".join(_found(case, policy, verdict)),
            why=case.why or "",
            touched=tuple(_touched(policy, case.request, verdict, day)),
        )


def injected(policy: Policy, asked: Asked, decision: Decision) -> str | None:
    """The name of the credential that goes out with an allowed request: none over cleartext or to a strange host."""
    if not decision.allowed or decision.credential is None or isinstance(asked, Authority):
        return None
    bound = policy.credentials[decision.credential].bound_to(asked.host)
    return decision.credential if bound and asked.scheme == "https" else None


def _holds(key: str, case: Case, policy: Policy, verdict: Verdict) -> bool:
    decision = verdict.decision
    if key == "expect":
        return (case.expect == "allow") is decision.allowed
    if key not in case.model_fields_set:
        return True
    if key == "reason":
        return case.reason is decision.reason
    if key == "rule":
        return case.rule == (decision.rule or decision.nearest)
    return case.credential == injected(policy, case.request, decision)


def _expected(case: Case) -> Iterator[str]:
    yield case.expect
    if case.reason is not None:
        yield str(case.reason)
    if case.rule is not None:
        yield f"rule {case.rule}"
    if "credential" in case.model_fields_set:
        yield f"credential {case.credential or 'none'}"


def _found(case: Case, policy: Policy, verdict: Verdict) -> Iterator[str]:
    decision = verdict.decision
    yield "allow" if decision.allowed else "deny"
    if decision.reason is not Reason.ALLOWED or case.reason is not None:
        yield f"{decision.reason} (let pass by mode: observe)" if decision.observed else str(decision.reason)
    named = decision.rule or decision.nearest
    rule = next((each for each in policy.rules if each.id == named), None)
    if rule is not None:
        yield f"{'rule' if decision.rule else 'nearest rule'} {rule.id} ({rule.where})"
    elif case.rule is not None:
        yield "no rule"
    if case.rule is not None and all(each.id != case.rule for each in policy.rules):
        yield f"and the policy has no rule {case.rule}"
    if "credential" in case.model_fields_set:
        yield f"credential {injected(policy, case.request, decision) or 'none'}"


def _touched(policy: Policy, asked: Asked, verdict: Verdict, today: date) -> Iterator[Rule]:
    """The rules that made the verdict: each allow rule that would allow alone, or each deny rule that forbids alone.

    A rule that came closest counts where it is its expiry that was asked about.
    """
    decision = verdict.decision
    if decision.allowed and not decision.observed:
        for rule in policy.allow.speaking_of(asked.host):
            if judge(_alone(policy, allow=rule), asked, today).allowed:
                yield rule
    elif decision.reason in _COUNTED and decision.rule is not None:
        for rule in policy.deny.speaking_of(asked.host):
            if _forbids(policy, rule, asked, verdict, today):
                yield rule
    elif decision.reason is Reason.RULE_EXPIRED:
        yield from (rule for rule in policy.rules if rule.id == decision.nearest)


def _alone(policy: Policy, *, allow: Rule) -> Policy:
    return Policy(allow=RuleIndex.of([allow]), ports=policy.ports, credentials=policy.credentials)


def _forbids(policy: Policy, rule: Rule, asked: Asked, verdict: Verdict, today: date) -> bool:
    alone = Policy(allow=policy.allow if verdict.tunnel else RuleIndex(), deny=RuleIndex.of([rule]), ports=policy.ports)
    return judge(alone, asked, today).decision.rule == rule.id


def uncovered(policies: Iterable[Policy], outcomes: Iterable[Outcome]) -> tuple[Uncovered, ...]:
    """The rules that stand in the policies' own files and that nothing touches, in the order of the files."""
    touched = {(rule.where, rule.id) for outcome in outcomes for rule in outcome.touched}
    return tuple(each for each in own_rules(policies) if (each.where, each.rule) not in touched)


def own_rules(policies: Iterable[Policy]) -> list[Uncovered]:
    """Every rule that stands in the file of one of the policies, not in one that it extends, each once."""
    found: dict[tuple[str, str], Uncovered] = {}
    for policy in policies:
        sections: Mapping[str, RuleIndex] = {"allow": policy.allow, "deny": policy.deny}
        for section, index in sections.items():
            for rule in rules_in(index):
                if rule.where.rpartition(":")[0] == policy.source:
                    found[rule.where, rule.id] = Uncovered(rule.id, rule.where, section)
    return sorted(found.values(), key=_place)


def _place(each: Uncovered) -> tuple[str, int]:
    file, _, line = each.where.rpartition(":")
    return file, int(line)
