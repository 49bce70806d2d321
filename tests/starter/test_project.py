"""What a project's own files show: languages, hosts in lock files, remotes, agents and keys."""

import os
import subprocess
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from proxy.policy.host import HostPattern
from proxy.policy.path import parse_pattern
from proxy.starter.agents import AGENTS, agents, keys
from proxy.starter.findings import name_of
from proxy.starter.machine import MAX_FOUND, Machine, ask_client
from proxy.starter.project import languages, locked
from proxy.starter.remotes import remotes

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "my app").mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    return Machine(tmp_path / "my app", tmp_path, environ, ask=lambda words: ask_client(words, environ))


def test_languages_are_seen_in_the_project_and_directly_below(machine: Machine) -> None:
    for name in ("pyproject.toml", "web/package.json", "deep/er/go.mod", ".hidden/Cargo.toml", "node_modules/go.mod"):
        (machine.project / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.project / name).touch()
    (machine.project / "loop").symlink_to(machine.project)
    assert [(each.name, each.client, each.files) for each in languages(machine)] == [
        ("Python", "pip", ("pyproject.toml",)),
        ("JavaScript", "npm", ("package.json",)),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "package-lock.json",
            '{"a": {"resolved": "https://a.example.com/x/-/x.tgz", "funding": {"url": "https://no.example.com"}}}',
        ),
        ("yarn.lock", 'x@1:\n  resolved "https://a.example.com/x.tgz#abc"\n# https://no.example.com'),
        ("pnpm-lock.yaml", "resolution: {integrity: x, tarball: https://a.example.com/x.tgz}"),
        ("uv.lock", 'source = { registry = "https://a.example.com/simple" }\n'),
        ("poetry.lock", '[package.source]\nurl = "https://u:p@a.example.com/simple"\n'),
        ("Pipfile.lock", '{"url": "https://a.example.com/simple"}'),
        ("Cargo.lock", 'source = "sparse+https://a.example.com/i/"\nsource = "registry+https://no.example.com/i"'),
    ],
)
def test_hosts_of_a_lock_file(machine: Machine, name: str, text: str) -> None:
    (machine.project / name).write_text(text)
    assert [(str(each.place), each.project) for each in locked(machine)] == [("https://a.example.com", True)]


def test_a_lock_file_cannot_fill_a_policy(machine: Machine) -> None:
    text = "\n".join(f'resolved "https://h{number}.example.com/x"' for number in range(1000))
    (machine.project / "yarn.lock").write_text(text)
    assert len(locked(machine)) == MAX_FOUND


def test_remotes_are_asked_of_git(machine: Machine) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", machine.project, *words], check=True, env=dict(machine.environ), capture_output=True
        )

    assert remotes(machine) == []
    git("init")
    git("remote", "add", "origin", "git@git.example.com:acme/app.git")
    git("remote", "add", "same", "https://u:p@git.example.com/acme/app.git")
    git("remote", "add", "local", "/srv/app.git")
    git("config", "remote.od\x1b[31m d: - #.url", "https://odd.example.com/x")
    found = remotes(machine)
    assert [(each.name, str(each.place), each.ssh) for each in found] == [
        ("origin", "https://git.example.com/acme/app.git", True),
        ("od?[31m?d:?-?#", "https://odd.example.com/x", False),
    ]
    assert machine.remarks == ["git remote local: it is a folder or file of this machine, which needs no rule"]


def test_a_client_that_fails_or_hangs_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in {"bad": "exit 3", "big": "head -c 100000 /dev/zero", "slow": "exec sleep 100"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("proxy.starter.machine.ANSWER_TIME", 0.2)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert [ask_client((name,), environ) for name in ("bad", "big", "slow", "missing")] == [None] * 4
    monkeypatch.chdir(tmp_path)
    assert ask_client(("bad",), {"PATH": ".:"}) is None
    assert ask_client(("pwd",), environ) == "/\n"


@pytest.mark.parametrize(
    ("programs", "environ", "wanted"),
    [
        ((), {}, []),
        (("claude",), {}, [("claude-messages", "ANTHROPIC_API_KEY", False)]),
        (("claude", "codex"), {"ANTHROPIC_API_KEY": "x", "CODEX_API_KEY": "x"},
         [("claude-messages", "ANTHROPIC_API_KEY", True), ("codex-responses", "CODEX_API_KEY", True)]),
        ((), {"OPENAI_API_KEY": "x"}, [("openai-responses", "OPENAI_API_KEY", True)]),
        ((), {"ANTHROPIC_API_KEY": ""}, []),
    ],
)  # fmt: skip
def test_agents(
    tmp_path: Path, programs: tuple[str, ...], environ: dict[str, str], wanted: list[tuple[str, str, bool]]
) -> None:
    for name in programs:
        (tmp_path / name).touch(0o755)
    machine = Machine(tmp_path, None, {"PATH": str(tmp_path), **environ})
    assert [(each.agent.id, each.key, each.set) for each in agents(machine)] == wanted
    assert set(keys(machine)) == {name for name, value in environ.items() if value}


@pytest.mark.parametrize(("program", "file"), [("claude", "claude-code.yaml"), ("codex", "codex.yaml")])
def test_an_agent_needs_what_its_example_policy_allows(program: str, file: str) -> None:
    policy = load_policy(POLICIES / file)
    (rule,) = (rule for rule in policy.rules if rule.credential)
    (agent,) = (agent for agent in AGENTS if agent.program == program)
    spec = policy.credentials[rule.credential or ""]
    assert (agent.id, agent.why) == (rule.id, rule.why)
    assert rule.hosts == (HostPattern(agent.host),)
    assert rule.methods == set(agent.methods)
    assert set(rule.paths or ()) == {parse_pattern(path) for path in agent.paths}
    assert (spec.provider, spec.source, spec.placeholder) == (agent.provider, f"env:{agent.keys[0]}", agent.placeholder)


@pytest.mark.parametrize(
    ("folder", "name"), [("My App!", "my-app"), ("", "my-project"), ("---", "my-project"), ("é" * 9, "my-project")]
)
def test_a_name_for_the_policy(folder: str, name: str) -> None:
    assert name_of(folder) == name
