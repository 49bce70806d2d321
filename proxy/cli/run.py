"""`outgate run`: a command in a sandbox whose only way out is the policy."""

import gc
import os
import re
import secrets
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.serve import state_option

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from proxy.sandbox.launch import Plan
    from proxy.sandbox.served import Serve, Served

FOOTER = """\
The command sees its project folder, the system read-only, a home folder of its own, fakes for the policy's keys, and
one socket that leads to the proxy. There is no other network. The exit status is that of the command; 127 if there is
no such command, 126 if it cannot be run, 2 if no sandbox could be made.
"""


@click.command(epilog=FOOTER, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--policy", metavar="PATH", help="The policy file; with --via, the name of a policy that is served there."
)
@click.option(
    "--profile", metavar="NAME", help="What the sandbox sees: a built-in profile or a file.  [default: by the command]"
)
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that can be written.  [default: that of the git repository around the working folder, or itself]",
)
@click.option(
    "--name", metavar="NAME", help="The sandbox's name in the audit log.  [default: the command's, and four digits]"
)
@click.option(
    "--via", type=click.Path(path_type=Path), metavar="DIR", help="Use the proxy that runs on this state folder."
)
@click.option(
    "--no-sandbox",
    is_flag=True,
    help="Run the command as it is. Only well-behaved clients are held, and the audit log says so.",
)
@click.option(
    "--summary-file", type=click.Path(path_type=Path), metavar="FILE", help="Write the summary to FILE, as JSON."
)
@state_option
@click.option("--upstream-ca", metavar="FILE", multiple=True, help="As in `outgate serve`.")
@click.option("--connect-to", metavar="HOST:PORT:ADDR:PORT", multiple=True, help="As in `outgate serve`.")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Read settings from FILE; from no other file."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    /,
    command: tuple[str, ...],
    policy: str | None,
    profile: str | None,
    project: Path | None,
    name: str | None,
    via: Path | None,
    no_sandbox: bool,
    summary_file: Path | None,
    state: str | None,
    upstream_ca: tuple[str, ...],
    connect_to: tuple[str, ...],
    config: Path | None,
) -> None:
    """Run COMMAND in a sandbox whose only way out is the policy."""
    from proxy.errors import ConfigError
    from proxy.sandbox import served
    from proxy.sandbox.child import Stopped, stoppable

    if os.environ.get("OUTGATE_SANDBOX"):
        raise ConfigError(
            "this is a sandbox of outgate already", "start the command itself: what is started here is held as well"
        )
    summary_file = _held(summary_file)
    if via is None:
        flags = {"policy": policy, "state": state, "upstream_ca": upstream_ca, "connect_to": connect_to}
        proxy = served.by_own(flags, os.environ, config)
    else:
        given = [
            key for key, value in (("state", state), ("upstream-ca", upstream_ca), ("connect-to", connect_to)) if value
        ]
        if given:
            raise ConfigError(
                f"--{given[0]} is for a proxy of the run's own", "give it to `outgate serve`, or leave --via out"
            )
        proxy = served.by_running(via, policy)
    gc.disable()  # a sixth of the time that it takes to load what follows, all of which stays
    try:
        with stoppable():
            status = _run(lambda: _plan(command, profile, project, name), proxy, summary_file, sandboxed=not no_sandbox)
    except Stopped as stopped:
        status = 128 + stopped.number
    finally:
        gc.freeze()
        gc.enable()
    context.exit(status)


def _held(file: Path | None) -> Path | None:
    """The same file by way of its folder as it is now: the sandbox may put a link to another one in its place."""
    from proxy.errors import ConfigError
    from proxy.state import why

    if file is None:
        return None
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # open until this process ends
    except OSError as error:
        raise ConfigError(
            f"cannot write the summary: {why(error)}", "name a file in a folder that exists", str(file)
        ) from None
    return Path(f"/proc/self/fd/{folder}") / file.name


def _plan(command: tuple[str, ...], profile: str | None, project: Path | None, name: str | None) -> "Plan":
    from proxy.identity import check_sandbox_name
    from proxy.sandbox.launch import Plan
    from proxy.sandbox.profile import load_profile

    called = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(command[0]).name).strip("-._")[:40] or "command"
    name = check_sandbox_name(name or f"{called}-{secrets.token_hex(2)}")
    working = Path.cwd()
    root = working if project is None else project.resolve()
    if project is None:
        root = next((each for each in (working, *working.parents) if (each / ".git").exists()), working)
    workdir = working if working.is_relative_to(root) else root
    return Plan(command, root, workdir, name, load_profile(profile, command[0]))


def _run(
    planned: "Callable[[], Plan]",
    own_or_running: "AbstractContextManager[Serve]",
    summary_file: Path | None,
    *,
    sandboxed: bool,
) -> int:
    started = datetime.now(UTC)
    with own_or_running as serve:  # from here on it loads what it needs, beside all that follows
        from proxy.sandbox import launch

        plan = planned()
        served = serve(plan.name)
        layout = launch.lay(plan, served, os.environ) if sandboxed else None
        launch.describe(plan, served, layout, os.environ)
        if layout is None:
            status = launch.run_unconfined(plan, served, os.environ)
        else:
            status = launch.run_confined(plan, served, layout, os.environ)
        served.control.close()  # with it the proxy ends, while this is loaded
        import proxy.review.log
        import proxy.sandbox.summary  # noqa: F401
    _summarise(plan.name, served, started, summary_file)
    return status


def _summarise(sandbox: str, served: "Served", started: datetime, file: Path | None) -> None:
    from proxy.review.log import Log
    from proxy.sandbox import step_summary
    from proxy.sandbox.summary import summarise
    from proxy.state import why, write_json

    events = (event for event in Log([str(served.state.audit)]) if event.sandbox == sandbox and event.time >= started)
    summary = summarise(events)
    for line in summary.lines():
        terminal.note(f"outgate: {line}")
    if summary.refused or summary.observed:
        terminal.note(f"outgate: what would allow it: outgate suggest {shlex.quote(str(served.state.audit))}")
    if (page := step_summary.page_of(os.environ)) is not None:
        try:
            step_summary.append(page, sandbox, served.policy.name, summary)
        except OSError as error:
            terminal.note(f"warning: cannot write the step summary: {why(error)}")
    if file is not None:
        write_json(file, {"sandbox": sandbox, "policy": served.policy.name, **summary.as_json()})
