"""From observe to a policy: real clients under `mode: observe`, and the same ones under what `suggest` made of it."""

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from tests.support.gitserver import git, git_server, make_repository
from tests.support.models import anthropic_messages
from tests.support.outgate import Outgate, run_outgate
from tests.support.packages import registry, serve, simple_index
from tests.support.pki import Authority
from tests.support.sandbox import Run, Sandbox, need
from tests.support.upstream import Upstream

PASSWORD, TOKEN = "the-index-password-01234", "npm_the-real-token-0123456789"
GIT_TOKEN, KEY = "ghp_the-real-token-0123456789abcdefghijkl", "sk-ant-api03-the-real-key-0123456789"
ORIGIN = "https://registry.example"
OBSERVE = """
version: 1
name: watch
mode: observe
deny:
  - {id: no-admin, why: never, hosts: [registry.example], paths: [/admin/**]}
"""
QUIET = ("--no-audit", "--no-fund", "--no-update-notifier")
ASK = (
    'curl -sS https://api.anthropic.com/v1/messages -H "x-api-key: $ANTHROPIC_API_KEY"'
    """ -H "content-type: application/json" -d '{"model": "claude-test", "max_tokens": 9, "messages": []}'"""
)

type Start = Callable[..., Outgate]


@dataclass
class World:
    """The upstreams, by name and port, as the proxy is led to them."""

    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Upstream] = field(default_factory=dict)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[World]:
    for client in ("git", "npm", "curl"):
        need(client)
    root = tmp_path_factory.mktemp("repositories")
    make_repository(root, "acme/app.git")
    basic = "Basic " + base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    answers = {
        "packages.example": serve(simple_index("outgate_tiny", "outgate_other", "unasked"), basic),
        "registry.example": serve(registry(ORIGIN, "tiny-tool", "@acme/tiny", "unasked"), f"Bearer {TOKEN}"),
        "github.com": git_server(root, "x-access-token", GIT_TOKEN),
        "api.anthropic.com": anthropic_messages(KEY, "hello from the model"),
        "evil.example": serve({"/": ("text/plain", b"reached")}, basic),
    }
    found = World()
    for name, answer in answers.items():
        server = Upstream(tmp_path_factory.mktemp(name), authority=authority)
        server.__enter__()
        server.otherwise(answer)
        found.servers[name], found.ports[f"{name}:443"] = server, server.port
    yield found
    for server in found.servers.values():
        server.__exit__(None, None, None)


def new_sandbox(outgate: Outgate, home: Path) -> Sandbox:
    home.mkdir()
    (home / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    (home / ".npmrc").write_text(f"registry={ORIGIN}\n//registry.example/:_authToken={TOKEN}\n")
    return Sandbox(outgate, home, outgate.env())


def work(sandbox: Sandbox, repository: str, extra: dict[str, str]) -> None:
    """What the agent does: packages, a clone, a question to the model. Each client must succeed."""
    pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--target", "site")
    index = f"https://ci:{PASSWORD}@packages.example/simple/"
    own = {"PIP_CONFIG_FILE": os.devnull}
    done = sandbox.run(*pip, "--no-cache-dir", "--index-url", index, "outgate_tiny", "outgate_other", extra=own)
    assert done.code == 0, done.output
    done = sandbox.run("npm", "install", *QUIET, "tiny-tool", "@acme/tiny")
    assert done.code == 0, done.output
    done = sandbox.run("git", "clone", "--quiet", repository, "app")
    assert done.code == 0, done.output
    assert (sandbox.home / "app" / "README.md").exists()
    done = ask(sandbox, extra)
    assert "hello from the model" in done.stdout, done.output


def ask(sandbox: Sandbox, extra: dict[str, str]) -> Run:
    return sandbox.run("sh", "-c", ASK, extra=extra)


def status(sandbox: Sandbox, *arguments: str) -> str:
    """The status that a request of curl's gets."""
    return sandbox.run("curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", *arguments).stdout


def run(folder: Path, *arguments: str) -> str:
    done = run_outgate(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_in_observe_mode_becomes_a_policy_under_which_the_same_run_succeeds_and_nothing_else(
    world: World, start_outgate: Start, tmp_path: Path
) -> None:
    watching = start_outgate(OBSERVE, connect_to=world.ports)
    sandbox = new_sandbox(watching, tmp_path / "one")
    work(sandbox, f"https://x-access-token:{GIT_TOKEN}@github.com/acme/app.git", {"ANTHROPIC_API_KEY": KEY})
    assert status(sandbox, f"{ORIGIN}/admin/users") == "403"
    sandbox.events()
    watching.stop()

    proposal = tmp_path / "suggested.yaml"
    run(tmp_path, "suggest", str(watching.state), "--output", str(proposal))
    text = proposal.read_text()
    run(tmp_path, "check", "--strict", str(proposal))
    policy = load_policy(proposal)
    assert [rule.id for rule in policy.rules] == [
        "api-anthropic-com-write",
        "github-com-fetch",
        "github-com-read",
        "packages-example-read",
        "registry-example-read",
    ]
    again = json.loads(run(tmp_path, "replay", str(watching.state), "--policy", str(proposal), "--json"))
    assert (again["totals"]["refused"], again["totals"]["passed"], again["totals"]["depends"]) == (0, 0, 0)
    assert again["log"]["skipped"] == 0

    for server in world.servers.values():
        server.record.connections.clear()
    environ = {"GITHUB_TOKEN": GIT_TOKEN, "ANTHROPIC_API_KEY": KEY}
    enforcing = start_outgate(text, connect_to=world.ports, environ=environ)
    other = new_sandbox(enforcing, tmp_path / "two")
    work(other, "https://github.com/acme/app.git", {})
    assert {event["verdict"] for event in other.events()} == {"allow"}
    assert KEY not in str(other.variables)

    for probe in (
        ("https://evil.example/",),
        ("https://packages.example/simple/unasked/",),
        ("https://packages.example/admin",),
        (f"{ORIGIN}/unasked",),
        (f"{ORIGIN}/admin/users",),
        (f"{ORIGIN}/tiny-tool", "-X", "POST", "-d", "x"),
        (f"{ORIGIN}/tiny-tool", "-X", "PUT", "-d", "x"),
        ("https://api.anthropic.com/v1/files", "-d", "x"),
        ("https://api.anthropic.com/v1/messages",),
        ("https://github.com/acme/other.git/info/refs?service=git-upload-pack",),
        ("http://packages.example/simple/outgate-tiny/",),
        ("https://packages.example:8443/simple/outgate-tiny/",),
    ):
        code = status(other, *probe)
        assert code in ("403", "000"), (probe, code)
    assert "client_credential_refused" in ask(other, {"ANTHROPIC_API_KEY": "sk-ant-api03-someone-elses"}).stdout
    clone = other.home / "app"
    (clone / "README.md").write_text("changed\n")
    git("commit", "--quiet", "-am", "second", cwd=clone)
    done = other.run("git", "push", "origin", "HEAD:main", cwd=clone)
    assert done.code != 0
    assert "403" in done.stderr
    judged = [event for event in other.events() if event["path"] != "/acme/app.git/info/refs"]
    assert {event["verdict"] for event in judged} == {"deny"}
    assert (judged[-1]["path"], judged[-1]["reason"]) == ("/acme/app.git/git-receive-pack", "path_not_allowed")
    assert not world.servers["evil.example"].record.connections
