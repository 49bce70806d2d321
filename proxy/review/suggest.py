"""The smallest readable policy that allows what a run was seen to do.

Proved before it is shown: it loads, and every request that it was made of passes under it and the current policy.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from proxy.config.check import check_alone, check_together
from proxy.config.compile import Part, read_part
from proxy.config.parse import MAX_BYTES
from proxy.config.tree import failure
from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec
from proxy.policy.host import Authority, HostPattern
from proxy.policy.path import PathPattern
from proxy.policy.request import Request
from proxy.policy.rules import Policy, RuleIndex
from proxy.review.access import attach, without_tunnel_conflicts
from proxy.review.asked import Asked, judge
from proxy.review.draft import draft
from proxy.review.gather import Ask, Gathered
from proxy.review.lint import lint
from proxy.review.proposal import USUAL, Proposed, policy_text
from proxy.review.second_look import fetches, mark, mark_domains
from proxy.review.sections import rules_in
from proxy.review.snippet import path_text


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Rules, and the credentials that they name. `new` are those of them that the current policy does not have."""

    rules: tuple[Proposed, ...] = ()
    credentials: tuple[CredentialSpec, ...] = ()
    new: tuple[CredentialSpec, ...] = ()

    def text(self, name: str, notes: Sequence[str] = ()) -> str:
        """The suggestion as a policy file of its own."""
        return policy_text(name, notes, self.rules, self.credentials)


def suggest(gathered: Gathered, current: Policy | None, today: date) -> Suggestion:
    """Make rules of what was gathered. `current` is the policy that they would join; `today` is a day in UTC.

    What cannot join it is left out of the suggestion, and of `gathered.asks`. Raises `ConfigError` if the rules are
    more than a policy file may hold.
    """
    current = replace(current or Policy(), observe=False)
    rules = list(draft(gathered, current))
    _name(rules, {rule.id for rule in current.rules})
    rules, dropped = without_tunnel_conflicts(rules, current)
    for rule, why in dropped:
        _leave(gathered, rule, why)
    for rule in rules:
        rule.look_again[:0] = mark(rule)
        if _first_paths(rule, current):
            rule.look_again.append("the first rule about this host with paths: from now on, ambiguous ones are refused")
    mark_domains(rules)
    named = attach(rules, current)
    credentials = tuple(_bound(spec, rules) for spec in named.values())
    made = Suggestion(tuple(rules), credentials, tuple(s for s in credentials if s.name not in current.credentials))
    _warn(made, today)
    _prove(made, gathered, current, today)
    return made


def _name(rules: list[Proposed], taken: set[str]) -> None:
    """Give each rule an id: host, port if it is not the usual one, and what it is for."""
    for rule in rules:
        words = [rule.host.name]
        if rule.tunnel or rule.port != USUAL[rule.scheme]:
            words.append(str(rule.port))
        if rule.scheme == "http" and not rule.tunnel:
            words.append("http")
        words.append("tunnel" if rule.tunnel else "read" if not rule.methods else "fetch" if fetches(rule) else "write")
        stem = re.sub(r"[^a-z0-9]+", "-", "-".join(words)).strip("-")
        if rule.keep and stem in taken:
            stem += "-encoded"
        rule.id, number = stem, 2
        while rule.id in taken:
            rule.id, number = f"{stem}-{number}", number + 1
        taken.add(rule.id)


def _bound(spec: CredentialSpec, rules: list[Proposed]) -> CredentialSpec:
    """The credential, bound to the hosts of the rules that name it and no other."""
    hosts = {HostPattern(rule.host.name) for rule in rules if rule.credential == spec.name}
    return replace(spec, hosts=tuple(sorted(hosts, key=str)))


def _leave(gathered: Gathered, rule: Proposed, why: str) -> None:
    scheme = "" if rule.tunnel else rule.scheme
    for ask in [ask for ask in gathered.asks if (ask.host, ask.port, ask.scheme) == (rule.host, rule.port, scheme)]:
        gathered.drop(ask, why)


def _first_paths(rule: Proposed, current: Policy) -> bool:
    speaking = [each for each in current.allow.speaking_of(rule.host) if each.inspect]
    return bool(rule.patterns and speaking) and all(each.paths is None for each in speaking)


def _warn(made: Suggestion, today: date) -> None:
    """Put beside each rule what `outgate check` would warn about."""
    for finding in lint([compiled(made.text("suggested"))], today).warnings:
        if finding.path[0] == "allow":
            made.rules[int(finding.path[1])].look_again.append(f"{finding.message} ({finding.code})")


def _prove(made: Suggestion, gathered: Gathered, current: Policy, today: date) -> None:
    """Compile the suggestion and decide every request again. A fault here is one of ours: nothing may be shown."""
    part = compiled(made.text("suggested"))
    joined = replace(
        current,
        allow=RuleIndex.of([*rules_in(current.allow), *part.allow]),
        ports=current.ports.union(port for rule in part.allow for _, port in rule.endpoints or ()),
    )
    for ask in gathered.asks:
        if not judge(joined, _asked(ask), today).allowed:
            raise RuntimeError("a suggestion does not allow what it was made of")


def compiled(text: str) -> Part:
    """One policy file without `extends`, loaded from its text as `outgate check` would. Raises `ConfigError`."""
    data = text.encode()
    if len(data) > MAX_BYTES:
        hint = "make one of less of the log at a time, with --since or --sandbox, or of less varied runs"
        raise ConfigError("the rules are more than the 1 MiB that a policy file may have", hint)
    part = read_part(data, "the suggestion")
    problems = [*check_alone(part, [part]), *check_together([part])]
    if problems:
        raise failure(problems)
    return part


def _asked(ask: Ask) -> Asked:
    if ask.tunnel:
        return Authority(ask.host, ask.port)
    path = ask.raw or path_text(PathPattern(ask.segments))
    return Request(ask.scheme, ask.host, ask.port, ask.method, path)
