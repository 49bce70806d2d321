"""Proposed rules and credentials as values, and as the text of a policy file that people can read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_network

from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Host, HostPattern
from proxy.policy.path import PathPattern
from proxy.policy.rules import READ_METHODS, Rule
from proxy.review.seen import Seen
from proxy.review.snippet import as_text, entry_lines

USUAL = {"https": 443, "http": 80}
_MAX_EXAMPLE = 160
_MAX_COMMENT = 500


@dataclass(slots=True)
class Tally:
    """How often something was seen, first and last when, and one example."""

    count: int
    first: datetime
    last: datetime
    example: str

    @classmethod
    def of(cls, seen: Seen) -> "Tally":
        what = f"{seen.method} {seen.path}" if seen.path else f"{seen.method} {seen.url}"
        return cls(1, seen.time, seen.time, comment(f"{what[:_MAX_EXAMPLE]} ({seen.id[:26]})"))

    def add(self, other: "Tally") -> None:
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        first, last = stamp(self.first), stamp(self.last)
        when = first if first == last else f"{first} to {last}"
        return f"seen {times}, {when}; for example {self.example}"

    @property
    def why(self) -> str:
        """The honest text for a rule's `why`: nobody has said yet what it is for."""
        first, last = self.first.date(), self.last.date()
        days = f"on {first}" if first == last else f"from {first} to {last}"
        return f"seen in a run {days}; say what it is for"


@dataclass(slots=True, kw_only=True)
class Proposed:
    """One proposed rule, about one host, port and scheme.

    `methods` is empty for `access: read`, `patterns` for any path;
    `look_again` holds what a reviewer should think about, a clause each.
    """

    id: str
    host: Host
    port: int
    scheme: str = "https"
    methods: tuple[str, ...] = ()
    patterns: list[PathPattern] = field(default_factory=list)
    keep: bool = False
    tunnel: bool = False
    credential: str | None = None
    tally: Tally
    look_again: list[str] = field(default_factory=list)

    def rule(self) -> Rule:
        """The rule as the core would see it."""
        literal = self.host.address
        return Rule(
            id=self.id,
            where="",
            why=self.tally.why,
            hosts=() if literal else (HostPattern(self.host.name),),
            networks=(ip_network(self.host.name),) if literal else (),
            endpoints=frozenset({(self.scheme, self.port)}),
            methods=None if self.tunnel else frozenset(self.methods) or READ_METHODS,
            paths=tuple(self.patterns) or None,
            keep_encoded_slash=self.keep,
            inspect=not self.tunnel,
            credential=self.credential,
        )


def stamp(time: datetime) -> str:
    """`2026-11-20T10:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def policy_text(
    name: str, notes: Iterable[str], rules: Sequence[Proposed], credentials: Sequence[CredentialSpec]
) -> str:
    """A whole policy file."""
    lines = [*(f"# {comment(note)}" for note in notes), *entry_lines({"version": 1, "name": name}), ""]
    lines += ["allow:", *joined(map(rule_lines, rules), spaced=True)] if rules else ["allow: []"]
    if credentials:
        lines += ["", "credentials:", *(line for spec in credentials for line in credential_lines(spec))]
    return "\n".join(lines) + "\n"


def joined(items: Iterable[list[str]], *, spaced: bool) -> list[str]:
    """The lines of entries, with a blank line between them if they are `spaced`."""
    lines: list[str] = []
    for item in items:
        lines += ["", *item] if spaced and lines else item
    return lines


def rule_lines(rule: Proposed, indent: str = "  ") -> list[str]:
    """One rule as an item of `allow`, with its comments; `indent` stands before the dash."""
    comments = [str(rule.tally), *(f"look again: {mark}" for mark in rule.look_again)]
    lines = [*(f"# {comment(text)}" for text in comments), *as_text(rule.rule()).splitlines()]
    return [indent + line for line in lines]


def credential_lines(spec: CredentialSpec, indent: str = "  ") -> list[str]:
    """One entry of `credentials`."""
    entry = {
        "provider": spec.provider,
        "from": spec.source,
        "hosts": [str(host) for host in spec.hosts],
        "inject": None if spec.inject is None else _inject(spec.inject),
        "placeholder": spec.placeholder,
        "client_credentials": "replace" if spec.replace_client_credentials else None,
    }
    given = {key: value for key, value in entry.items() if value is not None}
    return [indent + line for line in entry_lines({spec.name: given})]


def _inject(inject: Inject) -> dict[str, object]:
    if inject.header is not None:
        return {"header": inject.header, "format": inject.format}
    if inject.basic is not None:
        return {"basic": {"username": inject.basic}}
    return {"query": inject.query} if inject.query is not None else {"bearer": True}


def comment(text: str) -> str:
    """One line of printable ASCII, not without end: what was recorded cannot end a comment."""
    text = text if len(text) <= _MAX_COMMENT else text[: _MAX_COMMENT - 3] + "..."
    return "".join(char if " " <= char <= "~" else "?" for char in text)
