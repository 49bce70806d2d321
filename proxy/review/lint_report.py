"""Errors and warnings of policies, written for a terminal, a program, a pull request, and code scanning."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from proxy.config.compile import Part
from proxy.errors import Problem
from proxy.review.lint import UNNEEDED
from proxy.review.scene import Finding

ERROR = "invalid_policy"

# One sentence for each code: what such a finding is about.
TITLES: dict[str, str] = {
    ERROR: "the file is not a policy, or contradicts itself",
    "observe_mode": "the policy lets pass what no rule allows",
    "user_content_host": "a host serves content or storage of anybody",
    "drop_host": "data can be left for somebody else at a host",
    "write_against_why": "the rule's reason speaks of reading, and it allows writing",
    "credential_any_path": "a credential goes to every path of a host",
    "credential_unused_host": "a credential is bound to more hosts than its rules reach",
    "placeholder_unused": "no rule still uses a placeholder",
    "rule_shadowed": "another rule allows everything that this one allows",
    "rule_denied": "deny rules leave nothing of an allow rule",
    "rule_expired": "the last day of a rule has passed",
    "rule_expiring": "a rule expires within 14 days",
    "wide_addresses": "a rule opens more addresses than one site has",
    "metadata_address": "a rule opens the metadata service of a cloud",
    UNNEEDED: "a warning is accepted that there is not",
}
_CODES = tuple(TITLES)
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_WHERE = re.compile(r"(?P<file>.+?)(?::(?P<line>[1-9][0-9]*))?(?::(?P<column>[1-9][0-9]*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Notice:
    """One error or warning as it is told. `accept` says how the file can accept it; empty where it cannot."""

    severity: str  # "error" or "warning"
    code: str
    problem: Problem
    accept: str = ""

    @property
    def advice(self) -> str:
        """The hint, and how to accept."""
        return "; ".join(part for part in (self.problem.hint, self.accept) if part)

    @property
    def place(self) -> tuple[str, int | None, int | None]:
        """File, line and column, as far as they are known."""
        match = _WHERE.fullmatch(self.problem.where)
        if match is None:
            return "", None, None
        return match["file"], _number(match["line"]), _number(match["column"])


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def error(problem: Problem) -> Notice:
    return Notice("error", ERROR, problem)


def warning(part: Part, finding: Finding) -> Notice:
    problem = part.document.problem(finding.path, finding.message, finding.hint)
    return Notice("warning", finding.code, problem, _accept(finding))


def _accept(finding: Finding) -> str:
    if finding.code == UNNEEDED:
        return ""
    section = finding.subject[0] if finding.subject else ""
    place = {"": "at the top of the file", "allow": "in the rule"}.get(str(section), "in the credential")
    return f"if it is meant, write `accept: [{finding.code}]` {place}"


def as_lines(notices: Iterable[Notice]) -> Iterator[str]:
    """For a terminal: `error: WHERE: KEY: MESSAGE`, or `warning:`, with the code at the end; then `hint:`."""
    for notice in notices:
        parts = (notice.problem.where, notice.problem.key, notice.problem.message)
        code = f" [{notice.code}]" if notice.severity == "warning" else ""
        yield f"{notice.severity}: " + ": ".join(part for part in parts if part) + code
        if notice.advice:
            yield f"hint: {notice.advice}"


def as_document(notices: Sequence[Notice], policies: Sequence[Part], accepted: int) -> dict[str, Any]:
    """For a program; `docs/cli.md` says what each key is."""
    return {
        "policies": [{"name": part.model.name, "file": part.document.path} for part in policies],
        "errors": sum(notice.severity == "error" for notice in notices),
        "warnings": sum(notice.severity == "warning" for notice in notices),
        "accepted": accepted,
        "problems": [_entry(notice) for notice in notices],
    }


def _entry(notice: Notice) -> dict[str, Any]:
    file, line, column = notice.place
    return {
        "severity": notice.severity,
        "code": notice.code,
        "file": file,
        "line": line,
        "column": column,
        "key": notice.problem.key,
        "message": notice.problem.message,
        "hint": notice.problem.hint,
        "accept": notice.accept,
    }


def as_commands(notices: Iterable[Notice], root: str) -> Iterator[str]:
    """GitHub's workflow commands. `root` is the folder that paths are shown from.

    Escaped as `@actions/core` does (actions/toolkit, packages/core/src/command.ts).
    """
    for notice in notices:
        file, line, column = notice.place
        given = {"file": _relative(file, root), "line": line, "col": column, "title": f"outgate: {notice.code}"}
        properties = ",".join(f"{name}={_property(str(value))}" for name, value in given.items() if value)
        key = f"{notice.problem.key}: " if notice.problem.key else ""
        advice = f"\n{notice.advice}" if notice.advice else ""
        yield f"::{notice.severity} {properties}::{_data(key + notice.problem.message + advice)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(notices: Iterable[Notice], root: str, version: str) -> dict[str, Any]:
    """SARIF 2.1.0 (OASIS), one run. Columns count Unicode characters, as everywhere in Outgate."""
    driver: dict[str, Any] = {"name": "outgate", "rules": [_rule(code) for code in _CODES]}
    if version:
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(notice, root) for notice in notices],
    }
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    level = "error" if code == ERROR else "warning"
    return {"id": code, "shortDescription": {"text": TITLES[code]}, "defaultConfiguration": {"level": level}}


def _result(notice: Notice, root: str) -> dict[str, Any]:
    file, line, column = notice.place
    key = f"{notice.problem.key}: " if notice.problem.key else ""
    text = f"{key}{notice.problem.message}" + (f"\n{notice.advice}" if notice.advice else "")
    result: dict[str, Any] = {
        "ruleId": notice.code,
        "ruleIndex": _CODES.index(notice.code),
        "level": notice.severity,
        "message": {"text": text},
    }
    if file:
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(file, root)}}
        # A file that cannot be read has no line, and code scanning wants one.
        place["region"] = {"startLine": line or 1, **({"startColumn": column} if column else {})}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _relative(file: str, root: str) -> str:
    path = PurePosixPath(file)
    return str(path.relative_to(root)) if path.is_absolute() and path.is_relative_to(root) else file


def _uri(file: str, root: str) -> str:
    path = _relative(file, root)
    return PurePosixPath(path).as_uri() if path.startswith("/") else quote(os.fsencode(path))
