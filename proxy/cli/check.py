"""`outgate check`: what is wrong with policies, and what is unwise."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.quantity import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.config.compile import Part
    from proxy.review.lint_report import Notice

WARNED = 1
WRONG = 2


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="How to print: for a terminal, a program, a workflow of GitHub, or code scanning.",
)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.pass_context
def check(context: click.Context, paths: tuple[Path, ...], form: str, strict: bool) -> None:
    """Say what is wrong with policies, and what is legal and unwise.

    A folder means each *.yaml and *.yml directly in it. Nothing is sent, and no secret is read.
    Exit codes: 0 nothing wrong, 1 warnings with --strict, 2 errors.
    """
    notices, policies, accepted = _look(paths)
    _print(form, notices, policies, accepted)
    severities = {notice.severity for notice in notices}
    context.exit(WRONG if "error" in severities else WARNED if strict and severities else 0)


def _look(paths: "Sequence[Path]") -> "tuple[list[Notice], list[Part], int]":
    """The errors, then the warnings; the files that are right; and how many warnings they accept."""
    from proxy.config.load import survey
    from proxy.review import lint_report
    from proxy.review.lint import lint

    sources, problems = survey(paths)
    notices, accepted, today = [lint_report.error(problem) for problem in problems], 0, datetime.now(UTC).date()
    for parts in sources:
        found = lint(parts, today)
        notices.extend(lint_report.warning(parts[0], finding) for finding in found.warnings)
        accepted += len(found.accepted)
    return notices, [parts[0] for parts in sources], accepted


def _print(form: str, notices: "list[Notice]", policies: "list[Part]", accepted: int) -> None:
    from proxy.review import lint_report

    match form:
        case "json":
            terminal.as_json(lint_report.as_document(notices, policies, accepted))
        case "sarif":
            terminal.as_json(lint_report.as_sarif(notices, str(Path.cwd()), _version()))
        case "github":
            _say(lint_report.as_commands(notices, str(Path.cwd())))
        case _:
            _say(lint_report.as_lines(notices))
            terminal.say(_summary(notices, len(policies), accepted))


def _say(lines: "Iterable[str]") -> None:
    for line in lines:
        terminal.say(terminal.clean(line, lines=False))


def _summary(notices: "list[Notice]", policies: int, accepted: int) -> str:
    errors = sum(notice.severity == "error" for notice in notices)
    counts = [counted(errors, "error"), counted(len(notices) - errors, "warning")]
    return ", ".join(
        [*counts, *([f"{accepted} accepted"] if accepted else []), f"{counted(policies, 'policy', 'policies')} checked"]
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("outgate")
    except PackageNotFoundError:
        return ""
