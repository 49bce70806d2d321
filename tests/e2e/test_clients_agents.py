"""Agents from the npm registry under the policies of this repository, against stand-ins of their models."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import models
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.record import Received
from tests.support.sandbox import SENTENCE, Sandbox, need
from tests.support.upstream import Answer, Upstream
from tests.support.wire import Wire

pytestmark = pytest.mark.slow  # the packages are some hundred megabytes each

CLAUDE_KEY = "sk-ant-api03-the-real-key-0123456789"
CODEX_KEY = "sk-proj-the-real-key-0123456789"
TEXT = "hello through the proxy"
INSTALL_TIMEOUT = 600
POLICIES = Path(__file__).parents[2] / "policies"

type StartSandbox = Callable[..., Sandbox]


def installed(folder: Path, package: str) -> Path:
    """The folder of a package installed with the machine's own npm configuration; a skip if that does not work."""
    command = [need("npm"), "install", "--no-audit", "--no-fund", "--prefix", str(folder), package]
    try:
        done = subprocess.run(
            command, env=os.environ, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} could not be installed within {INSTALL_TIMEOUT} s")
    if done.returncode != 0:
        pytest.skip(f"{package} could not be installed: {done.stderr.strip()[-300:]}")
    return folder / "node_modules" / package


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The package's own launcher, which does without its install script."""
    launcher = installed(tmp_path_factory.mktemp("claude"), "@anthropic-ai/claude-code") / "cli-wrapper.cjs"
    if not launcher.exists():
        pytest.skip("this version of @anthropic-ai/claude-code has no cli-wrapper.cjs")
    return ["node", str(launcher), "-p", "say hi"]


@pytest.fixture(scope="module")
def codex(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    launcher = installed(tmp_path_factory.mktemp("codex"), "@openai/codex") / "bin" / "codex.js"
    return ["node", str(launcher), "exec", "--skip-git-repo-check", "say hi"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("api"), authority=authority) as server:
        server.on("/v1/messages", models.anthropic_messages(CLAUDE_KEY, TEXT))
        server.on("/v1/responses", by_socket_or_post())
        yield server


def by_socket_or_post() -> Answer:
    socket, post = models.openai_responses_socket(TEXT), models.openai_responses(CODEX_KEY, TEXT)

    async def answer(request: Received, wire: Wire) -> None:
        await (socket if request.header("upgrade") else post)(request, wire)

    return answer


@pytest.fixture
def start_sandbox(start_outgate: Callable[..., Outgate], api: Upstream, tmp_path: Path) -> StartSandbox:
    """A sandbox under one of the policies that this repository ships, with one change where a test needs it."""

    def start(name: str, old: str = "", new: str = "") -> Sandbox:
        text = (POLICIES / f"{name}.yaml").read_text()
        assert old in text
        files = {f"{name}.yaml": text.replace(old, new), "baseline.yaml": (POLICIES / "baseline.yaml").read_text()}
        mapping = {"api.anthropic.com:443": api.port, "api.openai.com:443": api.port}
        keys = {"ANTHROPIC_API_KEY": CLAUDE_KEY, "OPENAI_API_KEY": CODEX_KEY}
        outgate = start_outgate(files, connect_to=mapping, environ=keys)
        return Sandbox(outgate, tmp_path, outgate.env("--policy", name))

    return start


QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def test_claude_code_talks_to_its_model(claude: list[str], start_sandbox: StartSandbox, api: Upstream) -> None:
    sandbox = start_sandbox("claude-code")
    done = sandbox.run(*claude, extra=QUIET)
    assert (done.code, done.stdout.strip()) == (0, TEXT), done.output
    assert api.record.last.header("x-api-key") == CLAUDE_KEY
    calls = [event for event in sandbox.events() if event["path"] == "/v1/messages"]
    assert {(event["verdict"], event["injected"], event["end"]) for event in calls} == {("allow", True, "complete")}


def test_claude_code_shows_a_refusal_after_one_attempt(claude: list[str], start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox("claude-code", "[/v1/messages, ", "[/v1/other, ")
    done = sandbox.run(*claude, extra=QUIET)
    assert done.code != 0
    assert f"{SENTENCE} path (path_not_allowed)" in done.output
    calls = [event for event in sandbox.events() if event["path"] == "/v1/messages"]
    assert [event["reason"] for event in calls] == ["path_not_allowed"]


def model_calls(sandbox: Sandbox) -> list[tuple[str, str, int]]:
    """What Codex asked its model; what it asks of other hosts at its start is refused and does not stop it."""
    return [
        (event["method"], event["verdict"], event["status"])
        for event in sandbox.events()
        if event["host"] == "api.openai.com"
    ]


def test_codex_talks_to_its_model_by_websocket(codex: list[str], start_sandbox: StartSandbox, api: Upstream) -> None:
    sandbox = start_sandbox("codex")
    done = sandbox.run(*codex)
    assert (done.code, done.stdout.strip()) == (0, TEXT), done.output
    assert api.record.last.header("authorization") == f"Bearer {CODEX_KEY}"
    assert api.record.last.header("upgrade") == "websocket"
    sandbox.outgate.wait_for_events(lambda found: any(event["status"] == 101 for event in found))
    assert model_calls(sandbox) == [("GET", "allow", 101)]


def test_codex_falls_back_to_post_at_once(codex: list[str], start_sandbox: StartSandbox, api: Upstream) -> None:
    sandbox = start_sandbox("codex", "[GET, POST]", "[POST]")
    done = sandbox.run(*codex)
    assert (done.code, done.stdout.strip()) == (0, TEXT), done.output
    assert api.record.last.header("authorization") == f"Bearer {CODEX_KEY}"
    assert model_calls(sandbox) == [("GET", "deny", 426), ("POST", "allow", 200)]


def test_codex_shows_a_refusal(codex: list[str], start_sandbox: StartSandbox) -> None:
    """Codex retries every 403 of its model five times, whatever it says; it asks for a WebSocket only once."""
    sandbox = start_sandbox("codex", "[/v1/responses]", "[/v1/other]")
    done = sandbox.run(*codex)
    assert done.code != 0
    assert f"{SENTENCE} path (path_not_allowed)" in done.output
    calls = model_calls(sandbox)
    assert calls[0] == ("GET", "deny", 426)
    assert set(calls[1:]) == {("POST", "deny", 403)}
    assert len(calls) <= 7
