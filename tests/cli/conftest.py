"""A command line in a folder of its own, with a policy and no settings from outside."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.cli import _run

WEB = """\
version: 1
name: web
allow:
  - id: model
    why: the model this agent runs on
    hosts: [api.anthropic.com]
    methods: [POST]
    paths: [/v1/messages]
    credential: anthropic
  - id: docs
    why: reading documentation
    hosts: [docs.example.com]
  - id: updates
    why: this client pins its certificate
    hosts: [updates.example.com]
    inspect: false
deny:
  - id: no-admin
    why: never
    hosts: [docs.example.com]
    paths: [/admin/**]
credentials:
  anthropic:
    provider: anthropic
    from: env:ANTHROPIC_API_KEY
    hosts: [api.anthropic.com]
    placeholder: ANTHROPIC_API_KEY
"""
OTHER = "version: 1\nname: other\nallow: []\n"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


type Command = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: `web.yaml`, and the folder `both` with two policies."""
    for name in [name for name in os.environ if re.match(r"OUTGATE_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "web.yaml").write_text(WEB)
    (tmp_path / "both" / "other.yaml").write_text(OTHER)
    return tmp_path


@pytest.fixture
def outgate(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line; returns exit code, stdout and stderr."""

    def run(*arguments: str) -> Result:
        code = _run(arguments)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
