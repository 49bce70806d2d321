"""A compiled policy taken apart again, and put together with one rule more or changed."""

from dataclasses import replace

from proxy.policy.rules import Policy, Rule, RuleIndex


def rules_in(index: RuleIndex) -> tuple[Rule, ...]:
    """The rules of one section, each once, by id."""
    listed = (*index.exact.values(), *index.wildcard.values(), index.literal)
    found = {rule.id: rule for rules in listed for rule in rules}
    return tuple(sorted(found.values(), key=lambda rule: rule.id))


def with_rule(policy: Policy, rule: Rule) -> Policy:
    """The policy with an allow rule more, or with this one in place of that of the same id.

    The digest is left empty: it is that of no file.
    """
    allow = (*(each for each in rules_in(policy.allow) if each.id != rule.id), rule)
    others = (each for each in policy.rules if each.id != rule.id)
    return replace(
        policy,
        digest="",
        allow=RuleIndex.of(allow),
        ports=policy.ports | {port for _, port in rule.endpoints or ()},
        rules=tuple(sorted((*others, rule), key=lambda each: each.id)),
    )
