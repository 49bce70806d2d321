"""The command line: commands and their arguments. What a command does is in its own module, heavy imports inside it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from proxy import terminal
from proxy.cli.audit import audit
from proxy.cli.ca import ca
from proxy.cli.check import check
from proxy.cli.diff import diff
from proxy.cli.doctor import doctor
from proxy.cli.env import env
from proxy.cli.explain import explain
from proxy.cli.init import init
from proxy.cli.replay import replay
from proxy.cli.run import run
from proxy.cli.serve import serve
from proxy.cli.suggest import suggest
from proxy.cli.test import test
from proxy.errors import OutgateError, Problem

MISUSE = 2
CRASH = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 and SIGINT, as shells count


def _version(context: click.Context, _: click.Parameter, wanted: Any) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            terminal.say(f"outgate {version('outgate')}")
        except PackageNotFoundError:
            terminal.say("outgate, not installed")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def outgate() -> None:
    """The one guarded way out of an AI agent's sandbox.

    Exit codes: 0 done, 1 the answer is no, 2 misuse or a bad file, 70 a fault in Outgate, 130 interrupted.
    """


for command in (init, run, doctor, serve, env, check, explain, test, diff, replay, suggest, audit, ca):
    outgate.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. Never shows a traceback unless OUTGATE_DEBUG=1 asks for it."""
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = outgate.main(args=arguments, prog_name="outgate", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.note(error.format_message())
        return MISUSE
    except click.ClickException as error:
        terminal.report_problem(_problem(error))
        return MISUSE
    except OutgateError as error:
        terminal.report(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        terminal.note("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last line: a user sees one line, never a traceback
        if isinstance(error, OSError) and (why := _nowhere()):
            terminal.report_problem(
                Problem(f"cannot look at the working folder: {why}", "change into another one first")
            )
            return MISUSE
        terminal.report_crash(error, debug=os.environ.get("OUTGATE_DEBUG") == "1")
        return CRASH
    return code if isinstance(code, int) else 0


def _nowhere() -> str:
    """Why there is no working folder; empty if there is one."""
    try:
        Path.cwd()
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""


def _have_streams() -> None:
    """Put an empty file in the place of standard streams that are closed, as nothing else must get their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it is flushed at the exit
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _problem(error: click.ClickException) -> Problem:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help shows what can be given" if context else ""
    return Problem(message[:1].lower() + message[1:], hint)
