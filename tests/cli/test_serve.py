"""`outgate serve`: what is wrong is said before anything starts; what is right runs."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.ca import create
from proxy.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([], "no policy was given", "--policy PATH"),
        (["--policy", "none.yaml"], "none.yaml", ""),
        (["--policy", "web.yaml", "--listen", "8899"], "--listen: not ADDRESS:PORT", "127.0.0.1:8899"),
        (["--policy", "web.yaml", "--connect-to", "a:1"], "--connect-to: not HOST:PORT:ADDR:PORT", "api.example.com"),
        (["--policy", "web.yaml", "--workers", "0"], "--workers: not a value", "1 to 256"),
        (["--policy", "web.yaml", "--upstream-ca", "no.pem"], "no.pem: cannot read the certificates", "PEM"),
        (["--policy", "web.yaml", "--upstream-ca", "web.yaml"], "web.yaml: the file holds no PEM certificate", "PEM"),
        (["--policy", "both", "--allow-anonymous"], "--allow-anonymous needs exactly one policy", "outgate env"),
        (["--policy", "web.yaml", "--config", "no.yaml"], "no.yaml: cannot read the settings file", "--config"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    outgate: Any, folder: Path, arguments: list[str], message: str, hint: str
) -> None:
    result = outgate("serve", "--state", "s", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert message in result.err
    assert hint in result.err
    assert not (folder / "s").exists()


def test_flags_reach_the_engine_as_settings(outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.engine import supervisor

    seen: list[tuple[Settings, Sequence[Any]]] = []

    def serve(settings: Settings, policies: Sequence[Any], _: object) -> int:
        seen.append((settings, policies))
        return 7

    monkeypatch.setattr(supervisor, "serve", serve)
    (folder / "up.pem").write_bytes(create().pem)
    arguments = ["--policy", "web.yaml", "--listen", "[::1]:0", "--workers", "2", "--ready-file", "r.json"]
    more = ["--upstream-ca", "up.pem", "--connect-to", "a.example:443:127.0.0.1:1", "--allow-anonymous"]
    assert outgate("serve", "--state", "s", *arguments, *more).code == 7
    ((settings, policies),) = seen
    assert [policy.name for policy in policies] == ["web"]
    assert (str(settings.listen), settings.workers, settings.allow_anonymous) == ("[::1]:0", 2, True)
    assert (settings.ready_file, settings.upstream_ca) == (Path("r.json"), (Path("up.pem"),))
    assert settings.connect_map == {("a.example", 443): ("127.0.0.1", 1)}


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable, "nothing was printed"
    return process.stdout.readline()


@pytest.mark.e2e
def test_a_user_starts_it_prints_the_environment_and_stops_it(folder: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "ANTHROPIC_API_KEY": "sk-ant-the-real-one"}
    command = [sys.executable, "-m", "proxy"]
    serve = [*command, "serve", "--policy", "web.yaml", "--state", "s", "--listen", "127.0.0.1:0", "--workers", "1"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            line = _line(process)
            ready = json.loads((folder / "s" / "ready.json").read_text())
            assert ready["address"] in line
            assert ready["pid"] == process.pid
            printed = subprocess.run(
                [*command, "env", "--state", "s"], capture_output=True, text=True, env=environ, check=True
            )
            assert f"export HTTPS_PROXY=http://{ready['address']}\n" in printed.stdout
            assert "the-real-one" not in printed.stdout
            second = subprocess.run(serve, capture_output=True, text=True, env=environ, check=False)
            assert second.returncode == 2
            assert "another outgate serve uses this state folder" in second.stderr
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    after = subprocess.run([*command, "env", "--state", "s"], capture_output=True, text=True, env=environ, check=False)
    assert after.returncode == 2
    assert "no proxy runs on this state folder" in after.stderr
