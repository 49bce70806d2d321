"""`outgate suggest`: the policy that a log proposes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.cli.logs import choose_events, facts_of, load_named, log_options, open_log, tell_skipped, utc_today
from proxy.quantity import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.policy.rules import Policy
    from proxy.review.gather import Gathered
    from proxy.review.log import Log
    from proxy.review.proposal import Tally
    from proxy.review.suggest import Suggestion


@click.command()
@log_options
@click.option("--policy", metavar="PATH", multiple=True, help="The current policy: only what it lacks is proposed.")
@click.option("--name", metavar="NAME", default="suggested", show_default=True, help="The name of the policy.")
@click.option(
    "--merge", metavar="FILE", type=click.Path(path_type=Path), help="Add what is missing to this policy file."
)
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write a new file instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def suggest(  # noqa: PLR0913, PLR0917  one parameter for each option
    log: tuple[str, ...],
    sandbox: tuple[str, ...],
    since: str | None,
    policy: tuple[str, ...],
    name: str,
    merge: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Propose the smallest readable policy that allows what a run in observe mode was seen to do.

    LOG is a file, a folder (a state folder, with its runs, or one with *.jsonl files) or - for stdin; gzip is
    recognised. Read the proposal before you use it: a log shows what was done, not what ought to be.
    """
    from proxy.review.gather import gather
    from proxy.review.judge import Judge
    from proxy.review.suggest import suggest

    current = _current(policy, merge, output, name)
    wanted, source, today = choose_events(sandbox, since), open_log(log), utc_today()
    gathered = gather(source, wanted, None if current is None else Judge(current), today)
    made = suggest(gathered, current, today)
    tell_skipped(source)
    notes = _notes(made, gathered, source)
    text = made.text(name, notes)
    if merge is not None:
        _merge(merge, made)
    elif output is not None:
        _write_new(output, text)
    if as_json:
        terminal.as_json(_json(made, gathered, source, text))
    elif merge is None and output is None:
        terminal.say(text.rstrip("\n"))
    else:
        _tell(merge or output, made, notes)


def _current(policy: tuple[str, ...], merge: Path | None, output: Path | None, name: str) -> "Policy | None":
    """The policy that is there already, as it decides without `mode: observe`. Raises `ConfigError`."""
    from dataclasses import replace

    from proxy.config.files import read_bytes
    from proxy.config.texts import read_id
    from proxy.config.wrong import Wrong
    from proxy.errors import ConfigError

    if output is not None:
        _is_new(output)
    try:
        read_id(name)
    except Wrong as wrong:
        raise ConfigError(wrong.message, wrong.hint) from None
    if merge is not None and (policy or output is not None):
        raise ConfigError("--merge stands alone", "the file to merge into is the current policy and the output")
    if not policy and merge is None:
        return None
    if merge is not None:
        read_bytes(merge)  # before the log is read: it is a file, and no folder that holds one
    found = load_named(policy or [str(merge)], None)
    if len(found) != 1:
        raise ConfigError("there are several policies", "name the file of the one that the rules are to join")
    return replace(found[0], observe=False)


def _notes(made: "Suggestion", gathered: "Gathered", log: "Log") -> list[str]:
    """What stands at the head of the output: what the rules are made of, and what is not in them."""
    seen = sum(tally.count for tally in gathered.asks.values())
    notes = [f"Proposed by `outgate suggest` from {counted(seen, 'event')}. Read it before you use it."]
    if not seen:
        notes.append("Nothing to propose. Under a policy with `mode: observe` everything passes that it does not deny.")
    if gathered.covered:
        notes.append(f"Left out, because the current policy allows it: {counted(gathered.covered, 'event')}.")
    if gathered.filtered:
        notes.append(f"Left out by --since or --sandbox: {counted(gathered.filtered, 'event')}.")
    for why, tally in sorted(gathered.left_out.items(), key=lambda item: -item[1].count):
        notes.append(f"Left out: {why}: {counted(tally.count, 'event')}, for example {tally.example}.")
    if log.skipped:
        notes.append(f"Skipped, damaged or foreign: {counted(log.skipped, 'line')} of the log.")
    if made.new:
        names = ", ".join(spec.name for spec in made.new)
        notes.append(
            f"Look again: recognised by host, credential {names}. Remove it and its uses if no key was needed."
        )
    return notes


def _merge(file: Path, made: "Suggestion") -> None:
    """Add the rules to the file, in one step. Raises `ConfigError`; then the file is as it was."""
    from proxy.config.files import read_bytes
    from proxy.config.load import load_policy
    from proxy.errors import ConfigError
    from proxy.review.merge import merged

    if not made.rules:
        return
    file = file.resolve()  # a link stays one
    old = read_bytes(file)
    new = merged(old, str(file), made.rules, made.new)

    def check(draft: Path) -> None:
        load_policy(draft)
        if read_bytes(file) != old:
            raise ConfigError("the file was changed meanwhile", "try again", str(file))

    _replace(file, new, check)


def _replace(file: Path, data: bytes, check: "Callable[[Path], None]") -> None:
    """Replace a file in one step, with its mode and owner, after `check` of the draft beside it."""
    import os
    from contextlib import suppress

    from proxy.errors import ConfigError
    from proxy.state import why

    draft = file.with_name(f".{file.name}.{os.getpid()}.yaml")
    try:
        status = file.stat()
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, status.st_uid, status.st_gid)
            os.fchmod(handle, status.st_mode & 0o777)
            stream.write(data)
            stream.flush()
            os.fsync(handle)
        check(draft)
        draft.replace(file)
    except OSError as error:
        hint = "the file is as it was; check who may write it and its folder"
        raise ConfigError(f"cannot write the file: {why(error)}", hint, str(file)) from None
    finally:
        with suppress(OSError):
            draft.unlink()


_ANOTHER = "name another one, or add to a policy that is there with --merge"


def _is_new(file: Path) -> None:
    """Raises `ConfigError` for what no new file can be; early, because reading a log takes a moment."""
    import os

    from proxy.errors import ConfigError

    if os.path.lexists(file):
        folder = file.is_dir()
        message, hint = ("this is a folder", "name a file in it") if folder else ("the file is there already", _ANOTHER)
        raise ConfigError(message, hint, str(file))


def _write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet. Raises `ConfigError`."""
    from proxy.errors import ConfigError
    from proxy.state import PUBLIC, create_once

    if not create_once(file, text.encode(), PUBLIC):
        raise ConfigError("the file is there already", _ANOTHER, str(file))


def _tell(file: Path | None, made: "Suggestion", notes: list[str]) -> None:
    """Say what was written where, and what to look at again."""
    terminal.say(f"{counted(len(made.rules), 'rule')} added to {file}" if made.rules else f"nothing added to {file}")
    for rule in made.rules:
        terminal.say(f"  {rule.id}: {rule.tally}")
        for mark in rule.look_again:
            terminal.say(f"    look again: {mark}")
    for note in notes[1:]:
        terminal.say(note)


def _json(made: "Suggestion", gathered: "Gathered", log: "Log", text: str) -> dict[str, Any]:
    from proxy.review.snippet import path_text

    return {
        "policy": text,
        "rules": [
            {
                "id": rule.id,
                "host": rule.host.name,
                "port": rule.port,
                "scheme": rule.scheme,
                "methods": list(rule.methods) or None,
                "tunnel": rule.tunnel,
                "paths": [path_text(pattern) for pattern in rule.patterns],
                "credential": rule.credential,
                "look_again": rule.look_again,
                **_tally_json(rule.tally),
            }
            for rule in made.rules
        ],
        "credentials": [
            {"name": spec.name, "provider": spec.provider, "new": spec in made.new} for spec in made.credentials
        ],
        "left_out": [{"why": why, **_tally_json(tally)} for why, tally in gathered.left_out.items()],
        "covered": gathered.covered,
        "filtered": gathered.filtered,
        "log": facts_of(log),
    }


def _tally_json(tally: "Tally") -> dict[str, Any]:
    from proxy.review.proposal import stamp

    return {"count": tally.count, "first": stamp(tally.first), "last": stamp(tally.last), "example": tally.example}
