"""An agent from the npm registry in `outgate run`, with the profile and the policy of this repository."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.test_clients_agents import CLAUDE_KEY, POLICIES, TEXT, installed
from tests.sandbox.box import why_not
from tests.support import models
from tests.support.pki import Authority
from tests.support.running import Place
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow  # the package is some hundred megabytes


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    if reason := why_not():
        pytest.skip(f"no sandbox on this machine: {reason}")
    environ = {"ANTHROPIC_API_KEY": CLAUDE_KEY, "GITHUB_TOKEN": "ghp_0123456789"}
    return Place(tmp_path, upstream, authority, environ, "api.anthropic.com")


def test_claude_code_answers_with_a_fake_key_and_keeps_its_settings(place: Place) -> None:
    place.upstream.on("/v1/messages", models.anthropic_messages(CLAUDE_KEY, TEXT))
    launcher = installed(place.project, "@anthropic-ai/claude-code") / "cli-wrapper.cjs"
    if not launcher.exists():
        pytest.skip("this version of @anthropic-ai/claude-code has no cli-wrapper.cjs")
    shutil.copy(POLICIES / "baseline.yaml", place.policy.parent)
    shutil.copy(POLICIES / "claude-code.yaml", place.policy)
    for _ in range(2):  # the second time it finds what it kept
        done = place.run(
            "node", str(launcher), "-p", "say hi", options=("--profile", "claude-code", "--name", "claude")
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == TEXT
        assert "credentials sent: anthropic" in done.stderr
        assert CLAUDE_KEY not in done.stdout + done.stderr
    assert list(place.state.glob("homes/*/claude-code/.claude/*"))
    assert not list(place.home.iterdir())
