"""`outgate init`: what it prints, writes and refuses, in a home and a project of its own."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from proxy.starter.machine import Machine

KEY = "S3CRET-of-nobody"
INDEX = f"https://me:{KEY}@packages.example.com/simple"


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python project whose user has an index with a password; nothing of this machine is seen."""
    made, home = folder / "my app", folder / "home"
    for each in (made, home):
        each.mkdir()
    (made / "pyproject.toml").write_text("[project]\n")
    (made / "uv.lock").write_text('source = { registry = "https://files.example.com/simple" }\n')
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(f"[global]\nindex-url = {INDEX}\n")
    environ = {"PATH": "/nowhere", "HOME": str(home), "ANTHROPIC_API_KEY": KEY}
    monkeypatch.setattr(
        import_module("proxy.cli.init"), "_machine", lambda: Machine(Path.cwd(), home, environ, etc=folder / "etc")
    )
    monkeypatch.chdir(made)
    return made


def test_it_writes_a_policy_that_passes_check_and_says_what_is_next(outgate: Any, project: Path) -> None:
    result = outgate("init")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "wrote policies/my-app.yaml: 2 rules, 1 more as comments",
        "  anthropic-messages: messages and token counts",
        "  packages-example-com-read: packages for pip",
        "  off: files-example-com-read: only uv.lock names it, so whoever wrote the project chose it",
        "read it, then: outgate check --strict policies/my-app.yaml",
        result.out.splitlines()[-1],
    ]
    assert result.out.splitlines()[-1].startswith(("next: outgate serve --policy policies/my-app", "next: outgate run"))
    assert outgate("check", "--strict", "policies").code == 0
    assert KEY not in result.out + (project / "policies/my-app.yaml").read_text()


def test_it_never_writes_over_a_file(outgate: Any, project: Path) -> None:
    for target in (Path("policies/my-app.yaml"), Path("link.yaml")):
        target.parent.mkdir(exist_ok=True)
        target.write_text("mine") if target.parent.name else target.symlink_to("nowhere")
        result = outgate("init", "--output", str(target))
        assert (result.code, "there already" in result.err, "hint:" in result.err) == (2, True, True)
    assert Path("policies/my-app.yaml").read_text() == "mine"
    assert not Path("nowhere").exists()
    assert outgate("init").code == 2


def test_dry_run_prints_what_would_be_written(outgate: Any, project: Path) -> None:
    printed = outgate("init", "--dry-run").out
    assert not Path("policies").exists()
    assert outgate("init", "--output", "out/a b.yaml").code == 0
    assert Path("out/a b.yaml").read_text() == printed
    assert "'out/b b.yaml'" in outgate("init", "--output", "out/b b.yaml").out


def test_json_is_what_was_found(outgate: Any, project: Path) -> None:
    result = outgate("init", "--json", "--dry-run")
    found = json.loads(result.out)
    assert KEY not in result.out
    assert found["addresses"][0] == {
        "client": "pip",
        "address": "https://packages.example.com",
        "where": "index-url in ~/.config/pip/pip.conf",
        "login": True,
        "project": False,
    }
    assert found["keys"] == ["ANTHROPIC_API_KEY"]
    assert (found["output"], [rule["id"] for rule in found["rules"] if not rule["off"]]) == (
        None,
        ["anthropic-messages", "packages-example-com-read"],
    )
    assert found["policy"] == outgate("init", "--dry-run").out
    assert json.loads(outgate("init", "--json").out)["output"] == "policies/my-app.yaml"
    assert Path("policies/my-app.yaml").exists()


def test_the_project_can_be_trusted(outgate: Any, project: Path) -> None:
    assert outgate("init", "--trust-project", "--name", "web-2").code == 0
    text = Path("policies/web-2.yaml").read_text()
    assert "\n  - id: files-example-com-read\n" in text
    assert outgate("check", "--strict", "policies").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "My App"), "write `my-app`"),
        (("--output", "pyproject.toml/x.yaml"), "cannot make the folder"),
        (("--output", "."), "there already"),
        (("surplus",), "unexpected extra argument"),
    ],
)
def test_misuse(outgate: Any, project: Path, arguments: tuple[str, ...], said: str) -> None:
    result = outgate("init", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_it_looks_at_this_machine(outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real files, environment and clients, whatever they are: a policy that passes."""
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    assert outgate("init").code == 0
    assert outgate("check", "--strict", "policies/empty.yaml").code == 0


def test_a_folder_that_is_gone(outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    result = outgate("init", "--dry-run")
    assert (result.code, "cannot look at the working folder" in result.err) == (2, True)
