"""`outgate init`: a first policy for the project in the working folder."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal

if TYPE_CHECKING:
    from proxy.starter.findings import Findings
    from proxy.starter.machine import Machine
    from proxy.starter.text import Starter

_ANOTHER = "name another one with --output, or see what would stand in it with --dry-run"


@click.command()
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write; policies/NAME.yaml unless given.",
)
@click.option("--name", metavar="NAME", help="The name of the policy; that of the folder unless given.")
@click.option("--trust-project", is_flag=True, help="Allow hosts that only files of the project name.")
@click.option("--dry-run", is_flag=True, help="Print the policy instead of writing it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def init(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context, output: Path | None, name: str | None, trust_project: bool, dry_run: bool, as_json: bool
) -> None:
    """Write a first policy for the project in the working folder.

    Looks at its files and git remotes, at the agents and keys that are there, and at the addresses that pip, uv, npm,
    cargo, go and apt are configured to use on this machine. Nothing is sent, and no secret is printed or written.
    """
    from proxy.config.texts import read_id
    from proxy.config.wrong import Wrong
    from proxy.errors import ConfigError
    from proxy.starter.findings import look, name_of

    machine = _machine()
    try:
        chosen = name_of(machine.project.name) if name is None else read_id(name)
    except Wrong as wrong:
        raise ConfigError(wrong.message, wrong.hint) from None
    file = output or Path("policies", f"{chosen}.yaml")
    if not dry_run:
        _refuse_to_overwrite(file)
    findings = look(machine)
    made = _make(findings, chosen, trust_project)
    if not dry_run:
        _write_new(file, made.text)
    if as_json:
        terminal.as_json(_json(findings, made, None if dry_run else file))
    elif dry_run:
        terminal.say(made.text.rstrip("\n"))
    else:
        _tell(context, findings, made, file)


def _machine() -> "Machine":
    import os

    from proxy.starter.machine import Machine, ask_client

    environ = dict(os.environ)
    home = Path(environ.get("HOME", ""))
    return Machine(
        Path.cwd(), home if home.is_absolute() else None, environ, ask=lambda words: ask_client(words, environ)
    )


def _make(findings: "Findings", name: str, trust_project: bool) -> "Starter":
    from proxy.cli.logs import utc_today
    from proxy.starter.entries import entries
    from proxy.starter.text import starter

    return starter(findings, name, entries(findings, trust_project=trust_project), utc_today())


def _refuse_to_overwrite(file: Path) -> None:
    """Raises `ConfigError` for a file that is there; early, because looking takes a moment."""
    import os

    from proxy.errors import ConfigError

    if os.path.lexists(file):
        raise ConfigError("the file is there already", _ANOTHER, str(file))


def _write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet, and its folder. Raises `ConfigError`."""
    from proxy.errors import ConfigError
    from proxy.state import PUBLIC, create_once, why

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder: {why(error)}", _ANOTHER, str(file.parent)) from None
    if not create_once(file, text.encode(), PUBLIC):
        raise ConfigError("the file is there already", _ANOTHER, str(file))


def _tell(context: click.Context, findings: "Findings", made: "Starter", file: Path) -> None:
    """Say what was written, what is off and why, and what to do next."""
    from proxy.quantity import counted

    on, off = [each for each in made.entries if not each.off], [each for each in made.entries if each.off]
    terminal.say(f"wrote {file}: {counted(len(on), 'rule')}" + (f", {len(off)} more as comments" if off else ""))
    for each in on:
        terminal.say(f"  {each.rule.id}: {each.rule.why}")
    for each in off:
        terminal.say(f"  off: {each.rule.id}: {each.off}")
    for remark in findings.remarks:
        terminal.say(terminal.clean(f"  not used: {remark}", lines=False))
    missing = [each.key for each in findings.agents if not each.set]
    for key in missing:
        terminal.say(f"  {key} is not set: export it in the shell of the proxy")
    policy = shlex.quote(str(file))
    terminal.say(f"read it, then: outgate check --strict {policy}")
    terminal.say(f"next: {_next(context, findings, policy)}")


def _next(context: click.Context, findings: "Findings", policy: str) -> str:
    """The command that uses the policy."""
    program = next((each.agent.program for each in findings.agents if each.agent.program), "")
    commands = getattr(context.find_root().command, "commands", {})
    if "run" in commands:
        return f"outgate run --policy {policy} -- {program or 'YOUR-AGENT'}"
    return f"outgate serve --policy {policy}"


def _json(findings: "Findings", made: "Starter", file: Path | None) -> dict[str, Any]:
    from proxy.starter.findings import as_document

    return {
        **as_document(findings),
        "rules": [{"id": each.rule.id, "why": each.rule.why, "off": each.off or None} for each in made.entries],
        "credentials": [{"name": each.name, "from": each.source} for each in made.credentials],
        "output": None if file is None else str(file),
        "policy": made.text,
    }
