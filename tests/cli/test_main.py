"""The command line as a whole: exit codes, errors, start-up time, and the document that lists it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

import proxy.cli
from proxy.errors import ConfigError
from proxy.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "cli.md").read_text()


def test_help_and_version_are_answers(outgate: Any) -> None:
    assert outgate("--help").out.startswith("Usage: outgate [OPTIONS] COMMAND")
    assert outgate("-h").code == 0
    assert re.fullmatch(
        r"outgate (\d+\.\d+.*|, not installed)\n", outgate("--version").out.replace("outgate,", "outgate ,")
    )


def test_without_a_command_there_is_help_on_stderr(outgate: Any) -> None:
    result = outgate()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: outgate")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["serv"], "no such command 'serv'", "outgate --help"),
        (["serve", "--polcy", "x"], "no such option '--polcy'", "outgate serve --help"),
        (["serve", "--workers", "x"], "'x' is not a valid integer", "outgate serve --help"),
        (["explain", "GET"], "missing argument 'URL'", "outgate explain --help"),
        (["env", "--format", "xml"], "'xml' is not one of", "outgate env --help"),
        (["ca", "shw"], "no such command 'shw'", "outgate ca --help"),
    ],
)
def test_misuse_is_an_error_line_and_a_hint_line(outgate: Any, arguments: list[str], message: str, hint: str) -> None:
    result = outgate(*arguments)
    assert (result.code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second


class _Boom(Exception):
    pass


def _raising(error: BaseException) -> click.Command:
    def fail() -> NoReturn:
        raise error

    return click.Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError("broken", "mend it", "f:1"), 2, "error: f:1: broken\nhint: mend it\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (_Boom("word"), 70, "error: internal error: _Boom\nhint: this is a fault in Outgate, "),
    ],
)
def test_what_a_command_raises_becomes_an_exit_code(
    outgate: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, shown: str
) -> None:
    monkeypatch.setitem(proxy.cli.outgate.commands, "fail", _raising(error))
    result = outgate("fail")
    assert (result.code, result.out) == (code, "")
    assert result.err.lstrip("\n").startswith(shown)
    assert "Traceback" not in result.err
    assert "word" not in result.err


def test_a_traceback_needs_to_be_asked_for(outgate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(proxy.cli.outgate.commands, "fail", _raising(_Boom("word")))
    monkeypatch.setenv("OUTGATE_DEBUG", "1")
    result = outgate("fail")
    assert result.code == 70
    assert "Traceback" in result.err


def test_a_reader_that_goes_away_ends_the_command_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "proxy", "serve", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, env=environ, check=False)
    assert b"Traceback" not in result.stderr
    assert b"internal error" not in result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, proxy.cli\n"
        "proxy.cli._run(['--help'])\n"
        "heavy = {'mitmproxy', 'pydantic', 'cryptography', 'jwt', 'rich', 'yaml', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr


def _commands(command: click.Command, path: str = "outgate") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, f"{path} {name}")


def _section(path: str) -> str:
    match = re.search(rf"^#+ {re.escape(path)}\n(.*?)(?=^#+ outgate|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match, f"docs/cli.md has no section {path}"
    return match[1]


@pytest.mark.parametrize(("path", "command"), list(_commands(proxy.cli.outgate)))
def test_the_document_lists_each_command_with_all_its_options_and_no_other(path: str, command: click.Command) -> None:
    documented = set(re.findall(r"^\| `(--[a-z-]+)", _section(path).split("## Settings")[0], re.MULTILINE))
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert documented == options
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert parameter.human_readable_name in _section(path)


def test_the_document_lists_each_setting_in_its_three_forms() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `([A-Z_]+)` \| `([a-z_]+)` \|", DOCUMENT, re.MULTILINE)
    names = [each.name for each in fields(Settings)]
    assert rows == [("--" + name.replace("_", "-"), PREFIX + name.upper(), name) for name in names]
    assert {option.name for option in proxy.cli.outgate.commands["serve"].params} == {*names, "config"}


def test_every_option_has_help() -> None:
    for path, command in _commands(proxy.cli.outgate):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name}"
                assert "  " not in parameter.help.replace("  [", " ["), f"{path} {parameter.name}"
