"""`outgate doctor`: it finds what holds, and a boundary that does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import StartOutgate
from tests.sandbox.box import why_not
from tests.support.outgate import OUTGATE, clean_environment

PATIENCE = 50.0
_CLIENTS = ("--client", "curl", "--client", "python")
# A sandbox that shares the network around it, as a fault in our use of bubblewrap would make it.
_LEAKY = """
import sys
from proxy.sandbox import bubblewrap
bubblewrap._NAMESPACES = tuple(each for each in bubblewrap._NAMESPACES if each != "--unshare-net")
from proxy.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(autouse=True, scope="module")
def _possible() -> None:
    if reason := why_not():
        pytest.skip(f"no sandbox on this machine: {reason}")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")


class Doctor:
    """One look, with its findings by name."""

    def __init__(self, folder: Path, *arguments: str, command: tuple[str, ...] = (str(OUTGATE),), **extra: str) -> None:
        self.done = subprocess.run(
            [*command, "doctor", "--json", *arguments],
            env=clean_environment(folder, extra),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.code = self.done.returncode

    def findings(self) -> dict[str, dict[str, Any]]:
        assert self.done.stdout, self.done.stderr
        return {each["name"]: each for each in json.loads(self.done.stdout)["findings"]}

    def failed(self) -> set[str]:
        return {name for name, each in self.findings().items() if each["state"] == "fail"}


def test_a_sandbox_that_holds(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, "--state", str(tmp_path / "state"), *_CLIENTS)
    assert (doctor.code, doctor.failed()) == (0, set()), doctor.done.stderr
    found = doctor.findings()
    for name in ("TCP", "UDP", "DNS", "metadata address", "curl", "python", "allowed passes, with the key"):
        assert found[name]["state"] == "ok", found[name]
    assert not list((tmp_path / "state" / "runs").iterdir()), "nobody wants to review that"


@pytest.mark.slow
def test_without_a_sandbox_nothing_is_held(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, "--state", str(tmp_path / "state"), "--no-sandbox", *_CLIENTS)
    assert doctor.code == 1
    assert len(list((tmp_path / "state" / "runs").iterdir())) == 1
    failed = doctor.failed()
    assert failed
    assert all(doctor.findings()[name]["fix"] for name in failed)
    assert {doctor.findings()[name]["part"] for name in failed} == {"boundary"}


def _in_a_network(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run in a network namespace whose default route leads to an interface that nobody listens at."""
    setup = "ip link set lo up && ip link add out type veth peer name far && ip addr add 10.77.0.1/24 dev out && "
    setup += 'ip link set out up && ip link set far up && ip route add default via 10.77.0.2 && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", setup, "sh", *command],
        env=clean_environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture
def _network(tmp_path: Path) -> None:
    if _in_a_network(["true"], tmp_path).returncode:
        pytest.skip("no network namespaces of a user's own on this machine")


@pytest.mark.usefixtures("_network")
def test_a_sandbox_that_shares_the_network_is_found_out(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LEAKY, "doctor", "--json", "--state", str(tmp_path / "state"), *_CLIENTS]
    done = _in_a_network(command, tmp_path)
    assert done.returncode == 1, done.stderr
    failed = {each["name"] for each in json.loads(done.stdout)["findings"] if each["state"] == "fail"}
    assert {"network interfaces", "TCP", "UDP", "metadata address"} <= failed


@pytest.mark.usefixtures("_network")
def test_run_does_not_start_in_a_sandbox_that_shares_the_network(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nname: p\nallow: []\n")
    given = ("--policy", str(tmp_path / "policy.yaml"), "--state", str(tmp_path / "state"))
    command = [sys.executable, "-c", _LEAKY, "run", *given, "--", "touch", "started"]
    (tmp_path / "project").mkdir()
    command[:0] = ["env", "-C", str(tmp_path / "project")]
    done = _in_a_network(command, tmp_path)
    assert done.returncode not in {0, 127}, done.stderr
    assert "the boundary is not there" in done.stderr
    assert not (tmp_path / "project" / "started").exists()


@pytest.mark.slow
def test_in_a_container_with_the_variables(tmp_path: Path, start_outgate: StartOutgate) -> None:
    """Its clients and its proxy are fine; the network around this test is not what a container should have."""
    outgate = start_outgate("version: 1\nname: p\nallow: []\n")
    doctor = Doctor(tmp_path, "--here", *_CLIENTS, **outgate.env("--name", "job"))
    found = doctor.findings()
    assert [found[name]["state"] for name in ("answers", "curl", "python")] == ["ok"] * 3, doctor.done.stdout


@pytest.mark.slow
def test_in_a_container_without_the_variables(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, "--here", *_CLIENTS)
    assert doctor.code == 1
    assert doctor.findings()["answers"]["fix"]


@pytest.mark.slow
def test_a_policy_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2\n")
    doctor = Doctor(tmp_path, "--policy", str(tmp_path / "policy.yaml"))
    assert doctor.code == 2
    assert "policy.yaml" in doctor.done.stderr


def test_misuse(tmp_path: Path) -> None:
    for arguments in (("--here", "--no-sandbox"), ("--client", "none"), ("--profile", "no-such")):
        doctor = Doctor(tmp_path, "--state", str(tmp_path / "state"), *arguments)
        assert doctor.code == 2, doctor.done
        assert "hint:" in doctor.done.stderr
