"""What is legal in a policy and unwise: warnings, and which of them the file accepts.

A file is judged beside what it extends, and by nothing that extends it, so the answer never depends on which other
files were given.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from proxy.config.compile import Part
from proxy.config.tree import KeyPath
from proxy.review.lint_credentials import about_credentials
from proxy.review.lint_hosts import about_hosts
from proxy.review.lint_rules import about_rules
from proxy.review.scene import Finding, Scene

UNNEEDED = "acceptance_unneeded"

_LINTERS: tuple[Callable[[Scene], Iterator[Finding]], ...] = (about_rules, about_hosts, about_credentials)


@dataclass(frozen=True, slots=True)
class Lint:
    """The warnings of one file in the order of their places, and those that it accepts."""

    warnings: tuple[Finding, ...] = ()
    accepted: tuple[Finding, ...] = ()


def lint(parts: Sequence[Part], today: date) -> Lint:
    """Judge the first of the parts beside the others, which are all that it extends. `today` is a day in UTC."""
    scene = Scene.of(parts, today)
    found = [*_observing(scene.part), *(finding for linter in _LINTERS for finding in linter(scene))]
    accepts = dict(_accepts(scene.part))
    matched = {(finding.subject, finding.code) for finding in found}
    accepted = {(subject, code) for subject, codes in accepts.items() for code in codes}
    warnings = [each for each in found if each.now and (each.subject, each.code) not in accepted]
    warnings.extend(_unneeded(accepts, matched))
    return Lint(
        tuple(sorted(warnings, key=lambda finding: scene.place(finding.path))),
        tuple(each for each in found if each.now and (each.subject, each.code) in accepted),
    )


def _observing(part: Part) -> Iterator[Finding]:
    if part.model.mode == "observe":
        message = "`mode: observe` lets pass what no rule allows"
        yield Finding("observe_mode", (), ("mode",), message, "write `mode: enforce` once you know what is needed")


def _accepts(part: Part) -> Iterator[tuple[KeyPath, Sequence[str]]]:
    yield (), part.model.accept
    yield from ((("allow", index), rule.accept) for index, rule in enumerate(part.model.allow) if rule.accept)
    yield from ((("credentials", name), entry.accept) for name, entry in part.model.credentials.items())


def _unneeded(accepts: dict[KeyPath, Sequence[str]], matched: Iterable[tuple[KeyPath, str]]) -> Iterator[Finding]:
    needed = set(matched)
    for subject, codes in accepts.items():
        for index, code in enumerate(codes):
            if (subject, code) not in needed or code in codes[:index]:
                path = (*subject, "accept", index)
                message = f"`{code}` is accepted, and there is no such warning here"
                yield Finding(UNNEEDED, subject, path, message, "remove it, so that a later warning shows")
