"""Warnings about credentials: reachable by more than the rules need, and placeholders that are good for nothing."""

from collections import defaultdict
from collections.abc import Iterator

from proxy.config.tree import shown
from proxy.policy.host import HostPattern
from proxy.policy.rules import Rule
from proxy.review.scene import Finding, Scene


def about_credentials(scene: Scene) -> Iterator[Finding]:
    for entry, rule in scene.rules():
        if rule.credential is not None and _any_path(rule):
            message = f"the credential {shown(rule.credential)} goes to every path of the hosts"
            hint = "name the `paths` that need it"
            yield Finding("credential_any_path", entry, (*entry, "credential"), message, hint)
    users: dict[str, list[Rule]] = defaultdict(list)
    for rule in scene.allow:
        if rule.credential is not None:
            users[rule.credential].append(rule)
    for name in scene.part.credentials:
        yield from _unused_hosts(scene, name, users[name])
        yield from _placeholder(scene, name, users[name])


def _any_path(rule: Rule) -> bool:
    return rule.paths is None or any(path.rest and not path.segments for path in rule.paths)


def _unused_hosts(scene: Scene, name: str, rules: list[Rule]) -> Iterator[Finding]:
    entry = ("credentials", name)
    needed = {pattern for rule in rules for pattern in rule.hosts}
    for pattern in scene.part.model.credentials[name].hosts:
        if _reached(pattern, needed):
            continue
        index = scene.part.model.credentials[name].hosts.index(pattern)
        if pattern.wildcard and any(pattern.covers(each) for each in needed):
            hosts = ", ".join(sorted(str(each) for each in needed if pattern.covers(each))[:3])
            message = f"the credential {shown(name)} is bound to more hosts than its rules reach"
            hint = f"bind it to {hosts}"
        else:
            message = f"the credential {shown(name)} is bound to {shown(str(pattern))}, where no rule uses it"
            hint = "remove the host"
        yield Finding("credential_unused_host", entry, (*entry, "hosts", index), message, hint)


def _reached(pattern: HostPattern, needed: set[HostPattern]) -> bool:
    """Whether a rule reaches every host of the binding."""
    if pattern in needed:
        return True
    labels = pattern.name.split(".")
    return any(HostPattern(".".join(labels[start:]), wildcard=True) in needed for start in range(1, len(labels)))


def _placeholder(scene: Scene, name: str, rules: list[Rule]) -> Iterator[Finding]:
    spec = scene.part.credentials[name]
    idle = [rule for rule in rules if rule.expires is not None or scene.denials.of(rule)]
    if spec.placeholder is None or len(idle) < len(rules):
        return
    now = all(rule.expired(scene.today) or scene.denials.of(rule) for rule in rules)
    entry = ("credentials", name)
    message = f"the placeholder {shown(spec.placeholder)} is good for nothing: no rule of its credential still allows"
    hint = "remove the credential with its rules, or renew a rule"
    yield Finding("placeholder_unused", entry, (*entry, "placeholder"), message, hint, now=now)
