"""`outgate audit verify`: whether the audit log is what was written."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.cli.serve import config_option, state_option
from proxy.quantity import counted

if TYPE_CHECKING:
    from proxy.audit.verify import Report
    from proxy.audit.verify_chain import ChainReport
    from proxy.errors import Problem
    from proxy.settings import Settings

_NOT_INTACT = 1
_MAX_SAID = 20  # problems that are printed; JSON has all


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@state_option
@click.option(
    "--public-key",
    metavar="FILE|HEX",
    multiple=True,
    help="The key that checkpoints must be signed with, as `outgate audit key` prints it. Repeatable."
    "  [default: that of the state folder]",
)
@click.option("--pruned", is_flag=True, help="The oldest files were deleted on purpose.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
@click.pass_context
def verify(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    files: tuple[Path, ...],
    state: str | None,
    public_key: tuple[str, ...],
    pruned: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    """Verify the audit log: every line, every file, every checkpoint. It may be written meanwhile.

    FILES are folders with logs, or files with their checkpoints; without any, it is all that the state folder has. With
    one folder, a file of checkpoints is read in the place of the folder's own.
    Exit codes: 0 intact, 1 not intact or not covered, 2 misuse.
    """
    from proxy.settings import load_settings

    settings = load_settings({"state": state}, os.environ, Path.cwd(), config)
    keys = _keys(public_key, settings)
    reports = dict(_reports(files or _folders(settings), keys, pruned=pruned))
    terminal.progress()
    verdicts = {report.verdict for report in reports.values()}
    verdict = next((each for each in ("not intact", "not covered") if each in verdicts), "intact")
    if as_json:
        found = [_json(name, report) for name, report in reports.items()]
        terminal.as_json({"verdict": verdict, "public_keys": keys, "logs": found})
    else:
        for name, report in reports.items():
            _text(name, report)
        terminal.say(verdict)
    context.exit(0 if verdict == "intact" else _NOT_INTACT)


def _keys(named: Sequence[str], settings: "Settings") -> list[str]:
    from proxy.audit.key import load, public_hex, read_public
    from proxy.errors import ConfigError
    from proxy.state import open_state

    if named:
        return [read_public(each) for each in named]
    try:
        return [public_hex(load(open_state(settings.state, create=False)))]
    except ConfigError as error:
        hint = "name the key with --public-key, as `outgate audit key` printed it, or its state folder with --state"
        raise ConfigError(f"no key to verify with: {error}", hint, str(settings.state)) from None


def _folders(settings: "Settings") -> list[Path]:
    """The log of `outgate serve`, and those of the runs of `outgate run`."""
    from proxy.errors import ConfigError

    there = [settings.state / "audit", *sorted(settings.state.glob("runs/*/audit"))]
    found = [each for each in there if each.is_dir()]
    if not found:
        raise ConfigError("there is no audit log", "name its state folder with --state", str(settings.state))
    return found


def _reports(files: Sequence[Path], keys: Sequence[str], *, pruned: bool) -> "Iterator[tuple[str, Report]]":
    from proxy.audit.verify import is_checkpoints, verify_files, verify_folder

    done = 0

    def told(lines: int) -> None:
        nonlocal done
        done += lines
        terminal.progress(f"{counted(done, 'line')} verified")

    folders = [each for each in files if each.is_dir()]
    alone = [each for each in files if not each.is_dir()]
    apart = alone if len(folders) == 1 and all(map(is_checkpoints, alone)) else []
    for folder in folders:
        yield str(folder), verify_folder(folder, keys, checkpoints=apart, pruned=pruned, told=told)
    if alone and not apart:
        yield "the files that were named", verify_files(alone, keys, pruned=pruned, told=told)


def _text(name: str, report: "Report") -> None:
    signed, problems = report.signed, report.problems
    terminal.say(name)
    for chain in report.chains:
        terminal.say(f"  {chain.log}: {_words(chain)}")
    terminal.say(f"  checkpoints: {signed.count}{f', the last one of {signed.last}' if signed.last else ''}")
    for chain in report.chains:
        for place in chain.torn:
            terminal.note(f"note: {place}: half a line, left by a writer that was killed; the next one owned up to it")
        if chain.unfinished:
            terminal.note(f"note: {chain.unfinished}: unfinished, being written or left by a writer that was killed")
        if chain.uncovered:
            terminal.note(
                f"warning: {chain.log}: not covered are {counted(chain.uncovered, 'line')} of a time before the chain"
            )
    for place in signed.torn:
        terminal.note(f"note: {place}: half a checkpoint, left by a writer that was killed")
    for place in report.strangers:
        terminal.note(f"warning: {place}: not covered: the name is none of a log, so it is part of no chain")
    for problem in problems[:_MAX_SAID]:
        terminal.report_problem(problem)
    if len(problems) > _MAX_SAID:
        terminal.note(f"and {len(problems) - _MAX_SAID} more")


def _words(chain: "ChainReport") -> str:
    if not chain.lines:
        return "empty"
    behind = chain.last - chain.vouched
    since = f", {behind} of them since the last checkpoint" if behind else ""
    return f"lines {chain.first} to {chain.last} in {counted(chain.files, 'file')}{since}"


def _json(name: str, report: "Report") -> dict[str, Any]:
    chains = [{**asdict(chain), "problems": [_problem(each) for each in chain.problems]} for chain in report.chains]
    signed = report.signed
    return {
        "name": name,
        "verdict": report.verdict,
        "chains": chains,
        "checkpoints": {"count": signed.count, "last": signed.last or None, "torn": signed.torn},
        "not_covered": sum(chain.uncovered for chain in report.chains),
        "strangers": report.strangers,
        "problems": [_problem(each) for each in report.problems],
    }


def _problem(problem: "Problem") -> dict[str, str]:
    return {"where": problem.where, "problem": problem.message}
