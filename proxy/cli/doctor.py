"""`outgate doctor`: whether the boundary holds, proved from inside."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.serve import state_option

if TYPE_CHECKING:
    from proxy.sandbox.doctor import Finding

BROKEN = 1


@click.command()
@click.option(
    "--policy", "policies", metavar="PATH", multiple=True, type=click.Path(path_type=Path), help="Look at it as well."
)
@click.option("--profile", metavar="NAME", help="What the sandbox sees, as in `outgate run`.")
@click.option("--here", is_flag=True, help="Look at the sandbox that this runs in: a container with the variables.")
@click.option("--no-sandbox", is_flag=True, help="Look at what a command of `outgate run --no-sandbox` could do.")
@click.option("--client", "names", metavar="NAME", multiple=True, help="Look at this client; at all unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@state_option
@click.pass_context
def doctor(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    policies: tuple[Path, ...],
    profile: str | None,
    here: bool,
    no_sandbox: bool,
    names: tuple[str, ...],
    as_json: bool,
    state: str | None,
) -> None:
    """Prove from inside a sandbox that there is no way around the proxy, and that clients work.

    Starts a proxy, a sandbox and an upstream of its own; nothing is sent anywhere. In a sandbox it looks at that one.
    Exit codes: 0 it holds, 1 it does not, 2 misuse, or no sandbox can be made.
    """
    from proxy.errors import ConfigError
    from proxy.sandbox import doctor as look
    from proxy.sandbox.probes import CLIENTS

    if here and (no_sandbox or profile or state):
        raise ConfigError("--here looks at the sandbox that is there", "leave the other options out")
    clients = [client for client in CLIENTS if not names or client.name in names]
    if unknown := {*names} - {client.name for client in clients}:
        known = ", ".join(client.name for client in CLIENTS)
        raise ConfigError(f"no such client: {', '.join(sorted(unknown))}", f"choose of {known}")
    found = list(look.about_policy([*policies], os.environ)) if policies else []
    if here or look.is_sandbox(os.environ):
        found += look.examine_here(os.environ, clients)
    else:
        found += look.examine(state, profile, os.environ, clients, sandboxed=not no_sandbox)
    broken = any(each.state is look.State.FAIL for each in found)
    if as_json:
        terminal.as_json({"holds": not broken, "findings": [each.as_json() for each in found]})
    else:
        _tell(found, broken=broken)
    context.exit(BROKEN if broken else 0)


def _tell(found: "list[Finding]", *, broken: bool) -> None:
    shown = [each for each in found if each.state != "skip"]
    terminal.table(
        ("part", "what", "", "seen"), [(each.part, each.name, each.state.value, each.said) for each in shown]
    )
    for each in shown:
        if each.fix:
            terminal.say(f"{each.state}: {each.name}: {each.fix}")
    missing = [each.name for each in found if each.state == "skip"]
    if missing:
        terminal.say(f"not on this machine, or not in the sandbox: {', '.join(missing)}")
    terminal.say("it does NOT hold" if broken else "it holds")
