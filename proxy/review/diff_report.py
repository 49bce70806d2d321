"""A difference in words, as Markdown for a pull request, and as a JSON document."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.markdown import escaped
from proxy.policy.rules import Policy
from proxy.quantity import counted
from proxy.review.boxes import listed
from proxy.review.changes import Change, PolicyDiff
from proxy.review.delta import Kind
from proxy.review.diff_words import TITLES, about, facts, idle, sent, sentence
from proxy.review.effect import Effect

_LONG = 5  # changes that Markdown shows at once; the rest can be unfolded
_COUNTED = {Kind.CHANGED: "allowed differently"}
_MOST = 100  # changes of one policy in Markdown


def headline(diffs: Sequence[PolicyDiff]) -> str:
    """The whole in one sentence."""
    changed = [diff for diff in diffs if diff.status != "unchanged"]
    if not changed:
        return f"No difference in meaning: {counted(len(diffs), 'policy', 'policies')} compared."
    counts = Counter(change.kind for diff in diffs for change in diff.changes)
    words = ", ".join(
        f"{counts[kind]} {_COUNTED.get(kind, TITLES[kind].partition(',')[0])}" for kind in Kind if counts[kind]
    )
    if any(change.kind is Kind.NOT_COMPARED for diff in diffs for change in diff.changes):
        start = "This change cannot be compared in full; treat it as one that lets an agent do more"
    elif any(diff.widening for diff in diffs):
        start = "This change lets an agent do more than before"
    else:
        start = "This change lets an agent do nothing that it could not do before"
    rest = f": {words}" if words else ""
    return f"{start}{rest} (in {len(changed)} of {counted(len(diffs), 'policy', 'policies')})."


@dataclass(frozen=True, slots=True)
class _Section:
    """What is told under one heading: changes that are the same in some policies, of which `diff` is one."""

    names: tuple[str, ...]
    diff: PolicyDiff
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def _sections(diffs: Sequence[PolicyDiff]) -> Iterator[_Section]:
    """What several policies have in common, as those that extend one have, first and once; then the rest of each."""
    telling: dict[tuple[object, ...], list[str]] = defaultdict(list)
    changed = [diff for diff in diffs if diff.status == "changed"]
    for diff in changed:
        for change in diff.changes:
            telling[_told(diff, change)].append(diff.name)
    sharing: dict[tuple[str, ...], tuple[PolicyDiff, list[Change]]] = {}
    for diff in changed:
        for change in diff.changes:
            names = tuple(telling[_told(diff, change)])
            if names[0] == diff.name and len(names) > 1:
                sharing.setdefault(names, (diff, []))[1].append(change)
    for names, (diff, changes) in sharing.items():
        yield _Section(names, diff, tuple(changes), ())
    for diff in diffs:
        own = tuple(each for each in diff.changes if diff not in changed or len(telling[_told(diff, each)]) == 1)
        if own or diff.notes or diff.status in ("added", "removed"):
            yield _Section((diff.name,), diff, own, diff.notes)


def _told(diff: PolicyDiff, change: Change) -> tuple[object, ...]:
    return change.kind, change.widening, sentence(change), *facts(diff, change)


def _whose(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"in policies {listed(names)}"


def _about(section: _Section) -> str:
    if section.diff.status != "changed":
        return about(section.diff)
    return about(replace(section.diff, changes=section.changes, notes=section.notes))


def as_lines(diffs: Sequence[PolicyDiff]) -> Iterator[str]:
    """For a terminal."""
    yield headline(diffs)
    for section in _sections(diffs):
        yield ""
        yield f"{_whose(section.names)}: {_about(section)}"
        yield from (f"  {note}" for note in section.notes)
        for kind in Kind:
            changes = [change for change in section.changes if change.kind is kind]
            if changes:
                yield f"  {TITLES[kind]}:"
            for change in sorted(changes, key=idle):
                yield f"    {sentence(change)}"
                yield from (f"      {label:<10}  {value}" for label, value in facts(section.diff, change))


def as_markdown(diffs: Sequence[PolicyDiff]) -> Iterator[str]:
    """For a pull request. Nothing that comes from a policy is markup there."""
    yield f"**{headline(diffs)}**"
    for section in _sections(diffs):
        yield from ("", f"#### {_whose([_code(name) for name in section.names])}: {_about(section)}", "")
        yield from (f"- {escaped(note)}" for note in section.notes)
        changes = section.changes
        shown = [change for change in changes if change.widening][:_LONG]
        shown += [each for each in changes if each not in shown and not idle(each)][: _LONG - len(shown)]
        rest = [change for change in changes if change not in shown]
        yield from _items(section.diff, shown)
        if rest:
            yield from ("", f"<details><summary>{len(rest)} more</summary>", "")
            yield from _items(section.diff, rest[:_MOST])
            if len(rest) > _MOST:
                yield f"- and {len(rest) - _MOST} more, which `outgate diff` shows in a terminal"
            yield from ("", "</details>")


def _items(diff: PolicyDiff, changes: Iterable[Change]) -> Iterator[str]:
    for change in sorted(changes, key=idle):
        warned = "⚠️ " if change.widening else ""
        yield f"- {warned}**{TITLES[change.kind]}**: {escaped(sentence(change))}"
        yield from (f"  - {label}: {escaped(value)}" for label, value in facts(diff, change))


def _code(text: str) -> str:
    return f"<code>{escaped(text)}</code>"


def as_document(diffs: Sequence[PolicyDiff]) -> dict[str, Any]:
    """For a program."""
    return {
        "summary": headline(diffs),
        "widening": any(diff.widening for diff in diffs),
        "policies": [
            {
                "name": diff.name,
                "status": diff.status,
                "widening": diff.widening,
                "old": _policy(diff.old),
                "new": _policy(diff.new),
                "notes": list(diff.notes),
                "changes": [_change(diff, change) for change in diff.changes],
            }
            for diff in diffs
        ],
    }


def _policy(policy: Policy | None) -> dict[str, str] | None:
    if policy is None:
        return None
    return {"source": policy.source, "digest": policy.digest, "mode": "observe" if policy.observe else "enforce"}


def _change(diff: PolicyDiff, change: Change) -> dict[str, Any]:
    delta = change.delta
    return {
        "kind": change.kind.value,
        "widening": change.widening,
        "marks": [mark.value for mark in change.marks],
        "hosts": list(change.hosts),
        "endpoints": list(change.endpoints),
        "methods": list(change.methods),
        "paths": list(change.paths),
        "except_paths": list(change.but),
        "queries": list(change.queries),
        "except_queries": list(change.queries_but),
        "days": change.days or None,
        "addresses_gained": list(change.gained),
        "addresses_lost": list(change.lost),
        "before": None if delta is None else _effect(delta.old, delta.old_rule, diff, new=False),
        "after": None if delta is None else _effect(delta.new, delta.new_rule, diff, new=True),
        "why": change.why or None,
        "rules": list(change.rules),
    }


def _effect(effect: Effect, rule_id: str | None, diff: PolicyDiff, *, new: bool) -> dict[str, Any]:
    rule, secret = diff.rule(rule_id, new=new), effect.secret
    return {
        "passes": effect.passes,
        "denied": effect.denied,
        "observed": effect.observed,
        "tunnel": effect.tunnel,
        "http2": effect.http2,
        "trace_context": effect.trace_context,
        "credential": None if secret is None else {"name": secret.name, "from": secret.source, "sent": sent(secret)},
        "rule": None if rule is None else {"id": rule.id, "where": rule.where},
    }
