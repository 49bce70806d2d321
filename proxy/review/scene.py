"""What a linter sees of one file, and what it says about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

from proxy.config.compile import Part
from proxy.config.tree import KeyPath
from proxy.policy.credential import CredentialSpec
from proxy.policy.rules import READ_METHODS, Rule
from proxy.review.cover import Covers, Denials

# Methods that the IANA registry of HTTP methods calls safe, as far as a rule can name them.
_SAFE = READ_METHODS | {"PROPFIND", "QUERY", "REPORT", "SEARCH"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning: its code, the entry that it is about and that can accept it, and the place that shows it.

    `now` is false for what only time will make true: it needs no telling yet, and may be accepted already.
    """

    code: str
    subject: KeyPath
    path: KeyPath
    message: str
    hint: str
    now: bool = True


@dataclass(frozen=True)
class Scene:
    """One file, beside all that it extends: every allow rule, and what the deny rules kill."""

    part: Part
    today: date
    allow: tuple[Rule, ...]
    covers: Covers
    denials: Denials
    deny: tuple[Rule, ...]
    credentials: Mapping[str, CredentialSpec]
    own: frozenset[str]

    @classmethod
    def of(cls, parts: Sequence[Part], today: date) -> Self:
        allow = tuple(rule for part in parts for rule in part.allow)
        deny = tuple(rule for part in parts for rule in part.deny)
        return cls(
            part=parts[0],
            today=today,
            allow=allow,
            covers=Covers(allow),
            denials=Denials(deny),
            deny=deny,
            credentials={name: spec for part in parts for name, spec in part.credentials.items()},
            own=frozenset(rule.id for rule in parts[0].allow),
        )

    def rules(self) -> Iterator[tuple[KeyPath, Rule]]:
        """The allow rules of the file, each with the path of its entry."""
        for index, rule in enumerate(self.part.allow):
            yield ("allow", index), rule

    def place(self, path: KeyPath) -> tuple[int, int]:
        """Line and column, to sort by."""
        line, column = self.part.document.where(path).rsplit(":", 2)[-2:]
        return int(line), int(column)


def writes(rule: Rule) -> bool:
    """Whether the rule allows a method that is not safe (RFC 9110 section 9.2.1)."""
    return rule.methods is None or not rule.methods <= _SAFE
