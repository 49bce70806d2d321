"""A starter policy as text: rules that pass `outgate check --strict`, and as comments all that is for its reader."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern
from proxy.policy.rules import Rule
from proxy.review.lint import lint
from proxy.review.proposal import comment, credential_lines, joined
from proxy.review.snippet import as_text, entry_lines
from proxy.review.suggest import compiled
from proxy.starter.agents import AGENTS, GITHUB_KEYS
from proxy.starter.entries import Entry
from proxy.starter.findings import Findings

_HEAD = (
    "Made by `outgate init`. Read it before you use it: what no rule allows is refused.",
    "Keep it where the sandbox cannot write. Rules behind `#` are off: take the `#` off each of its lines to use one.",
    "To find what else an agent needs, let it work once with `mode: observe`: `outgate suggest` makes rules of that.",
    "A host that resolves to a private address needs `addresses: [10.1.2.3]` in its rule as well.",
)
_MANY = 20  # remarks at the head of a file; all of them are in the JSON


@dataclass(frozen=True, slots=True)
class Starter:
    """A starter policy. `entries` are its rules in their order, on or off; `credentials` those that it uses."""

    text: str
    entries: tuple[Entry, ...]
    credentials: tuple[CredentialSpec, ...]


def starter(findings: Findings, name: str, entries: Sequence[Entry], today: date) -> Starter:
    """Write the policy. What `outgate check` would warn about on `today`, a day in UTC, is off."""
    settled = _settled(findings, entries, today)
    credentials = _credentials(findings, settled)
    lines = [f"# {comment(line)}" for line in _head(findings)]
    lines += [*entry_lines({"version": 1, "name": name}), "", *_allow(findings, settled)]
    lines += _credential_section(credentials, [each for each in settled if each.login and not each.off])
    return Starter("\n".join(lines) + "\n", tuple(settled), credentials)


def _settled(findings: Findings, entries: Sequence[Entry], today: date) -> list[Entry]:
    """The entries, with those off about which there is a warning."""
    settled = list(entries)
    while True:
        on = [index for index, each in enumerate(settled) if not each.off]
        rules, specs = [settled[index].rule for index in on], _credentials(findings, settled)
        found = lint([compiled(_bare(rules, specs))], today).warnings
        warned = {on[int(each.path[1])]: f"{each.message} ({each.code})" for each in found if each.path[0] == "allow"}
        if not warned:
            return settled
        for index, message in warned.items():
            settled[index] = replace(settled[index], off=message)


def _bare(rules: Sequence[Rule], specs: Sequence[CredentialSpec]) -> str:
    """The policy without anything for its reader."""
    allow = [f"  {line}" for rule in rules for line in as_text(rule).splitlines()]
    named = [line for spec in specs for line in credential_lines(spec)]
    lines = [
        "version: 1",
        "name: starter",
        *(["allow:", *allow] if allow else []),
        *(["credentials:", *named] if named else []),
    ]
    return "\n".join(lines) + "\n"


def _credentials(findings: Findings, entries: Sequence[Entry]) -> tuple[CredentialSpec, ...]:
    """The credentials that rules name which are on, each bound to the hosts of these rules and no other."""
    sources = {each.agent.provider: (each.key, each.agent.placeholder) for each in findings.agents}
    github = next((key for key in GITHUB_KEYS if key in findings.keys), GITHUB_KEYS[0])
    sources["github"] = (github, github)
    hosts: dict[str, set[HostPattern]] = {}
    for each in entries:
        if each.rule.credential is not None and not each.off:
            hosts.setdefault(each.rule.credential, set()).update(each.rule.hosts)
    return tuple(
        CredentialSpec(
            name=name,
            source=f"env:{sources[name][0]}",
            hosts=tuple(sorted(bound, key=str)),
            provider=name,
            placeholder=sources[name][1],
        )
        for name, bound in hosts.items()
    )


def _head(findings: Findings) -> Iterator[str]:
    yield from _HEAD
    if findings.languages:
        yield "Found: " + "; ".join(f"{each.name} ({', '.join(each.files[:4])})" for each in findings.languages) + "."
    if not findings.agents:
        keys = " or ".join(dict.fromkeys(agent.keys[0] for agent in AGENTS))
        yield f"No agent was found, and no key for one: export {keys}, and make this file again."
    for remark in findings.remarks[:_MANY]:
        yield f"Not used: {remark}."
    if len(findings.remarks) > _MANY:
        yield f"Not used: {len(findings.remarks) - _MANY} more; `--json` tells all."


def _allow(findings: Findings, entries: Sequence[Entry]) -> Iterator[str]:
    on = any(not each.off for each in entries)
    yield "allow:" if on else "allow: [] # take the brackets away with the first rule"
    blocks = [] if on else [_example()]
    blocks += [_off_lines(each) if each.off else _rule_lines(each) for each in entries]
    blocks += [_place_for(client) for client in findings.unknown]
    blocks += [_place_for(language.name) for language in findings.languages if language.client is None]
    yield from joined(blocks, spaced=True)


def _rule_lines(entry: Entry) -> list[str]:
    lines = [f"  # {comment(line)}" for line in entry.comments]
    lines += [f"  {line}" for line in as_text(entry.rule).splitlines()]
    return (
        [*lines, f"    #credential: {_login_name(entry)}"] if entry.login and _takes_credential(entry.rule) else lines
    )


def _off_lines(entry: Entry) -> list[str]:
    comments = [f"  # {comment(line)}" for line in (*entry.comments, f"off: {entry.off}")]
    return [*comments, *(f"  #{line}" for line in as_text(entry.rule).splitlines())]


def _place_for(what: str) -> list[str]:
    said = f"{what}: its hosts were not found. Name those that it needs here."
    return [f"  # {comment(said)}", *_empty(f"{what}-packages", f"packages for {what}", [])]


def _example() -> list[str]:
    said = "Nothing was found that a rule could be made of without you. A rule looks like this:"
    return [f"  # {said}", *_empty("docs", "the documentation of what the agent works with", ["docs.example.com"])]


def _empty(name: str, why: str, hosts: list[str]) -> list[str]:
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    first, *rest = entry_lines({"id": name, "why": why, "hosts": hosts, "access": "read"})
    return [f"  #- {first}", *(f"  #  {line}" for line in rest)]


def _credential_section(specs: Sequence[CredentialSpec], logins: Sequence[Entry]) -> Iterator[str]:
    suggested = [each for each in logins if _takes_credential(each.rule)]
    if not specs and not suggested:
        return
    yield ""
    yield "credentials:" if specs else "#credentials:"
    for spec in specs:
        yield from credential_lines(spec)
    for entry in suggested:
        yield f"  # for the rule {entry.rule.id}: put the key into this variable of the proxy, and say how it is sent"
        yield from (f"  #{line}" for line in credential_lines(_suggested(entry), ""))
    if any(not _takes_credential(each.rule) for each in logins):
        yield "  # A login for an address without https, or without a name, cannot be a credential."


def _takes_credential(rule: Rule) -> bool:
    """A credential is bound to names, and travels over https alone."""
    return bool(rule.hosts) and all(scheme == "https" for scheme, _ in rule.endpoints or ())


def _suggested(entry: Entry) -> CredentialSpec:
    name = _login_name(entry)
    inject = Inject(bearer=True) if "packages for npm" in entry.rule.why else Inject(basic="USER")
    variable = re.sub(r"[^A-Z0-9]+", "_", f"KEY_{name.upper()}")
    return CredentialSpec(name, f"env:{variable}", entry.rule.hosts, inject=inject)


def _login_name(entry: Entry) -> str:
    return f"{entry.rule.id}-login"
