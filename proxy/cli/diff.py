"""`outgate diff`: what a change of policies means."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.policy.rules import Policy
    from proxy.review.changes import PolicyDiff

FAILED = 1
_MARKS = (
    *("new_host", "new_write", "new_credential_reach", "wildcard_widened", "inspection_off", "private_addresses"),
    *("expiry_removed", "observe_mode", "deny_removed", "http", "own_keys", "trace_context"),
)


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--path",
    metavar="PATH",
    help="The file or folder of policies in a revision. Unless given, the other side, where that is one; or policies.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print: for a terminal, a pull request, or a program.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["widening", *_MARKS]),
    multiple=True,
    help="Exit 1 if something is allowed that was not, or has this mark. Repeatable.",
)
@click.pass_context
def diff(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context, old: str, new: str, path: str | None, form: str, fail_on: tuple[str, ...]
) -> None:
    """Say what a change of policies lets an agent do, and no longer do.

    OLD and NEW are files, folders or git revisions; a file or folder wins over a revision of the same name. Two files
    are compared with each other, folders by the names of their policies. Only the meaning counts: order, names of
    rules and the files that they stand in make no difference. The work tree is not touched, and nothing is sent.
    Exit codes: 0 done, 1 what --fail-on names was found, 2 misuse or a bad file.
    """
    from proxy.review import diff_report

    found = _compare(old, new, path)
    if form == "json":
        terminal.as_json(diff_report.as_document(found))
    else:
        for line in diff_report.as_markdown(found) if form == "markdown" else diff_report.as_lines(found):
            terminal.say(terminal.clean(line, lines=False))
    context.exit(FAILED if any(_fails(each, fail_on) for each in found) else 0)


def _fails(found: "PolicyDiff", fail_on: "Sequence[str]") -> bool:
    """What could not be compared may be anything, so it fails on every choice."""
    for change in found.changes if fail_on else ():
        marks = {mark.value for mark in change.marks}
        if change.delta is None or (change.widening and "widening" in fail_on) or not marks.isdisjoint(fail_on):
            return True
    return False


def _compare(old: str, new: str, path: str | None) -> "tuple[PolicyDiff, ...]":
    from proxy.cli.logs import utc_today
    from proxy.config.load import load_policies
    from proxy.errors import ConfigError
    from proxy.review.changes import compare_all, compare_files
    from proxy.review.revision import policies_of

    here = [os.path.lexists(each) for each in (old, new)]
    if path is not None and all(here):
        raise ConfigError("--path is for revisions, and both sides are files or folders", "leave it out")
    inside = path or next((each for each, found in zip((old, new), here, strict=True) if found), "policies")
    sides: list[tuple[Policy, ...] | None] = [
        load_policies([Path(each)]) if found else policies_of(each, inside)
        for each, found in zip((old, new), here, strict=True)
    ]
    if sides == [None, None]:
        raise ConfigError(f"there is no {inside} on either side", "name the file or folder of policies with --path")
    for each, side in zip((old, new), sides, strict=True):
        if side is None:
            terminal.note(f"note: there is no {inside} in {each}, so nothing is allowed there")
    before, after = (side or () for side in sides)
    files = not any(Path(each).is_dir() for each in (old, new, inside))
    if files and len(before) == len(after) == 1:
        return (compare_files(before[0], after[0], utc_today()),)
    return compare_all(before, after, utc_today())
