"""`outgate test`: the expectations that stand beside policies, held against them."""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.errors import ConfigError, Problem
from proxy.quantity import counted

if TYPE_CHECKING:
    from proxy.policy.rules import Policy
    from proxy.review.expectations import Outcome, Uncovered
    from proxy.review.suite import Suite

FAILED = 1
SUITES = "tests"


@dataclass(frozen=True)
class Report:
    """What a run found. `rules` is how many rules there are to cover."""

    outcomes: "tuple[Outcome, ...]"
    rules: int
    uncovered: "tuple[Uncovered, ...]"

    @property
    def failed(self) -> "list[Outcome]":
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def summary(self) -> str:
        return f"{len(self.outcomes) - len(self.failed)} passed, {len(self.failed)} failed"

    @property
    def coverage(self) -> str:
        return f"{self.rules - len(self.uncovered)} of {counted(self.rules, 'rule')} touched by an expectation"


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="How to print: for a terminal, or a workflow of GitHub.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--coverage", is_flag=True, help="Name the rules that no expectation touches.")
@click.option("--fail-uncovered", is_flag=True, help="Fail if there is such a rule.")
@click.pass_context
def test(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context, paths: tuple[Path, ...], form: str, as_json: bool, coverage: bool, fail_uncovered: bool
) -> None:
    """Hold policies to the expectations that stand beside them.

    PATH is a folder of policies with its folder `tests`, that folder, or one suite in it; policies/ unless given.
    Nothing is sent, and no secret is read. Exit codes: 0 all passed, 1 a failure, 2 a file that is wrong.
    """
    form = "json" if as_json else form
    try:
        report = _run(paths or (Path("policies"),))
    except ConfigError as error:
        if form != "github":
            raise
        _annotate(Problem(each.message, each.hint, each.where, each.key) for each in error.problems)
        context.exit(error.exit_code)
    shown = report.uncovered if coverage or fail_uncovered else ()
    match form:
        case "json":
            terminal.as_json(_document(report))
        case "github":
            _annotate(_problem(outcome) for outcome in report.failed)
            _annotate((_gap(each) for each in shown), "error" if fail_uncovered else "warning")
            terminal.say(report.summary)
        case _:
            _print(report, shown, coverage=coverage or fail_uncovered)
    context.exit(FAILED if report.failed or (fail_uncovered and report.uncovered) else 0)


def _run(paths: Sequence[Path]) -> Report:
    from proxy.config.load import load_policies
    from proxy.gate import today
    from proxy.review.expectations import own_rules, run, uncovered

    outcomes: dict[tuple[str, str], Outcome] = {}
    about: dict[str, Policy] = {}
    for folder, suites in _groups(paths).items():
        policies = {policy.name: policy for policy in load_policies([folder])}
        whole = folder / SUITES in suites
        found = _read([file for files in suites.values() for file in files], policies)
        for suite in found:
            policy = policies[suite.model.policy]
            outcomes |= {(suite.document.path, each.request): each for each in run(suite, policy, today())}
        named = policies if whole else {suite.model.policy for suite in found}
        about |= {policies[name].source: policies[name] for name in named}
    done = tuple(outcomes.values())
    return Report(done, len(own_rules(about.values())), uncovered(about.values(), done))


def _groups(paths: Sequence[Path]) -> dict[Path, dict[Path, list[Path]]]:
    """For each folder of policies what was asked for in its folder of suites, and the suites that it means."""
    from proxy.config.files import expand
    from proxy.review.suite import SUITE

    found: dict[Path, dict[Path, list[Path]]] = {}
    for path in paths:
        place = path / SUITES if _is_folder(path / SUITES) else path
        suites = place if _is_folder(place) else place.parent
        if os.access(place, os.F_OK) and suites.resolve().name != SUITES:
            hint = f"suites stand in a folder named `{SUITES}` beside the policies: policies/{SUITES}/my-agent.yaml"
            raise ConfigError("there are no suites here", hint, str(path))
        files = expand(place, SUITE)
        # Not `.parent` of a bare `tests` that the user is in or names by `..`.
        folder = suites.parent if suites.name == SUITES else suites / ".."
        found.setdefault(folder, {})[place] = files
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: whoever opens it says so
        return False


def _read(files: Sequence[Path], policies: "dict[str, Policy]") -> "list[Suite]":
    """Read the suites, each once. Raises `ConfigError` with the problems of all of them."""
    from proxy.config.files import read_bytes
    from proxy.config.tree import failure, shown
    from proxy.review.suite import SUITE, read_suite

    found: list[Suite] = []
    problems: list[Problem] = []
    for file in dict.fromkeys(files):
        try:
            suite = read_suite(read_bytes(file, SUITE), str(file))
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if (name := suite.model.policy) not in policies:
            near = difflib.get_close_matches(name, policies, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(policies)}"
            problems.append(suite.document.problem(("policy",), f"no policy is named {shown(name)}", hint))
        found.append(suite)
    if problems:
        raise failure(problems)
    return found


def _print(report: Report, shown: "tuple[Uncovered, ...]", *, coverage: bool) -> None:
    for outcome in report.failed:
        terminal.say(terminal.clean(f"failed: {outcome.where}: {outcome.request}", lines=False))
        for label, text in (("expected", outcome.expected), ("found", outcome.found), ("why", outcome.why)):
            if text:
                terminal.say(terminal.clean(f"  {label.ljust(8)}  {text}", lines=False))
    for gap in shown:
        terminal.say(terminal.clean(f"untouched: {gap.where}: {gap.section} rule {gap.rule}", lines=False))
    if coverage:
        terminal.say(report.coverage)
    terminal.say(report.summary)


def _problem(outcome: "Outcome") -> Problem:
    why = f"; why: {outcome.why}" if outcome.why else ""
    message = f"{outcome.request}: expected {outcome.expected}, found {outcome.found}{why}"
    return Problem(message, where=outcome.where)


def _gap(gap: "Uncovered") -> Problem:
    return Problem(f"no expectation touches the {gap.section} rule {gap.rule}", where=gap.where)


def _annotate(problems: Iterator[Problem], severity: str = "error") -> None:
    from proxy.review.lint_report import Notice, as_commands

    for line in as_commands((Notice(severity, "test", problem) for problem in problems), str(Path.cwd())):
        terminal.say(terminal.clean(line, lines=False))


def _document(report: Report) -> dict[str, Any]:
    return {
        "passed": len(report.outcomes) - len(report.failed),
        "failed": len(report.failed),
        "cases": [
            {
                "policy": outcome.policy,
                "where": outcome.where,
                "request": outcome.request,
                "passed": outcome.passed,
                "expected": outcome.expected,
                "found": outcome.found,
                "why": outcome.why or None,
                "rules": [rule.id for rule in outcome.touched],
            }
            for outcome in report.outcomes
        ],
        "coverage": {
            "rules": report.rules,
            "uncovered": [{"rule": gap.rule, "section": gap.section, "where": gap.where} for gap in report.uncovered],
        },
    }
