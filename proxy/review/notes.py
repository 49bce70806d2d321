"""What changed in a policy beside its requests: its mode, and where each credential comes from and how it is sent."""

from collections import Counter
from collections.abc import Iterator

from proxy.policy.credential import CredentialSpec
from proxy.policy.rules import Policy


def notes_of(old: Policy, new: Policy) -> tuple[str, ...]:
    """Each difference in a few words. A credential that has another name and is otherwise the same is none."""
    return (*_mode(old, new), *_credentials(old, new))


def _mode(old: Policy, new: Policy) -> Iterator[str]:
    modes = ["observe" if each.observe else "enforce" for each in (old, new)]
    if modes[0] != modes[1]:
        means = ": what no rule allows passes, unless a deny rule or an address check forbids it" if new.observe else ""
        yield f"mode was {modes[0]}, is now {modes[1]}{means}"


def _credentials(old: Policy, new: Policy) -> Iterator[str]:
    before, after = (Counter(_facts(spec) for spec in each.credentials.values()) for each in (old, new))
    gone = {spec.name: spec for spec in old.credentials.values() if _facts(spec) in before - after}
    came = {spec.name: spec for spec in new.credentials.values() if _facts(spec) in after - before}
    for name in sorted(gone.keys() | came.keys()):
        if name not in gone:
            facts = ", ".join(f"{key} {value}" for key, value in _facts(came[name]) if value)
            yield f"credential {name} is new: {facts}"
        elif name not in came:
            yield f"credential {name} is gone"
        else:
            for (key, was), (_, now) in zip(_facts(gone[name]), _facts(came[name]), strict=True):
                if was != now:
                    yield f"credential {name}: {key} was {was or 'not set'}, is now {now or 'not set'}"


def _facts(spec: CredentialSpec) -> tuple[tuple[str, str], ...]:
    """All that a credential is but its name, under the keys of the file."""
    return (
        ("from", spec.source),
        ("hosts", ", ".join(sorted(str(host) for host in spec.hosts))),
        ("provider", spec.provider or ""),
        ("inject", _inject(spec)),
        ("placeholder", spec.placeholder or ""),
        ("client_credentials", "replace" if spec.replace_client_credentials else "refuse"),
    )


def _inject(spec: CredentialSpec) -> str:
    inject = spec.inject
    if inject is None:
        return ""
    if inject.header is not None:
        return f"header {inject.header}: {inject.format}"
    if inject.basic is not None:
        return f"basic with the user name {inject.basic}"
    return "bearer" if inject.bearer else f"query {inject.query}"
