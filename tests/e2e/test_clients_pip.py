"""pip and uv through the proxy, from a private index that wants a password which the sandbox does not have."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.outgate import Outgate, clean_environment
from tests.support.packages import serve, simple_index
from tests.support.pki import Authority
from tests.support.sandbox import SENTENCE, Run, Sandbox
from tests.support.upstream import Upstream

PASSWORD = "the-real-password-0123456789"
AUTHORIZATION = "Basic " + base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
INDEX = "https://packages.example/simple/"
# A developer's own pip configuration, with a second index perhaps, is no part of the sandbox.
OWN_CONFIGURATION = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
POLICY = """
version: 1
name: builder
allow:
  - id: index
    why: the packages that this project uses
    hosts: [packages.example]
    paths: [/simple/outgate-tiny/, /files/*]
    credential: index
  - id: pinned-files
    why: one file of another place
    hosts: [files.example]
    paths: [/allowed/*]
credentials:
  index:
    from: env:PASSWORD
    hosts: [packages.example]
    inject: {basic: {username: ci}}
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("index"), authority=authority) as server:
        server.otherwise(serve(simple_index("outgate_tiny"), AUTHORIZATION))
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, index: Upstream) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"packages.example:443": index.port},
        upstream_ca=(authority.ca_file,),
        environ={"PASSWORD": PASSWORD},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new virtual environment, with the pip that Python itself brings."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], env=clean_environment(folder), check=True, timeout=60)
    return folder / "bin" / "python"


def install(sandbox: Sandbox, python: str | Path, *arguments: str) -> Run:
    command = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--target", "site")
    return sandbox.run(*command, *arguments, extra=OWN_CONFIGURATION)


def assert_installed(sandbox: Sandbox, index: Upstream, done: Run) -> None:
    """The package works, every request got the password on its way, and the sandbox has not seen it."""
    assert done.code == 0, done.output
    program = "import outgate_tiny; print(outgate_tiny.WHERE)"
    told = sandbox.run(sys.executable, "-c", program, cwd=sandbox.home / "site")
    assert told.stdout.strip() == "through the proxy"
    assert index.record.last.header("authorization") == AUTHORIZATION
    assert PASSWORD not in done.output + str(sandbox.variables)
    events = sandbox.events()
    assert {(event["verdict"], event["injected"]) for event in events} == {("allow", True)}
    paths = sorted({event["path"] for event in events})
    assert paths == ["/files/outgate_tiny-1.0-py3-none-any.whl", "/simple/outgate-tiny/"]


def test_pip_installs_from_a_private_index(sandbox: Sandbox, index: Upstream) -> None:
    assert_installed(sandbox, index, install(sandbox, sys.executable, "--index-url", INDEX, "outgate_tiny"))


def test_the_pip_of_a_new_virtual_environment_does_too(sandbox: Sandbox, index: Upstream, fresh_python: Path) -> None:
    assert_installed(sandbox, index, install(sandbox, fresh_python, "--index-url", INDEX, "outgate_tiny"))


def test_pip_asks_a_refused_index_once(sandbox: Sandbox) -> None:
    """pip keeps why an index page failed for its debug output, whatever the answer says: hence -vv."""
    done = install(sandbox, sys.executable, "-vv", "--index-url", "https://other.example/simple/", "outgate_tiny")
    assert done.code != 0
    assert f"{SENTENCE} host (host_not_allowed)" in done.output
    sandbox.refused_once("host_not_allowed")


def test_pip_shows_why_a_package_or_a_file_is_refused(sandbox: Sandbox) -> None:
    done = install(sandbox, sys.executable, "-vv", "--index-url", INDEX, "requests")
    assert f"{SENTENCE} path (path_not_allowed)" in done.output
    sandbox.refused_once("path_not_allowed")
    done = install(sandbox, sys.executable, "https://files.example/x/outgate_tiny-1.0-py3-none-any.whl")
    assert f"{SENTENCE} path (path_not_allowed)" in done.output
    sandbox.refused_once("path_not_allowed")


@pytest.fixture
def uv() -> Path:
    found = Path(sys.executable).with_name("uv")
    if not found.exists():
        pytest.skip("uv is not installed beside this Python")
    return found


def uv_install(uv: Path, sandbox: Sandbox, index: str) -> Run:
    command = (uv, "pip", "install", "--python", sys.executable, "--target", "site", "--index-url", index)
    return sandbox.run(*command, "outgate_tiny", extra=OWN_CONFIGURATION)


def test_uv_installs_from_a_private_index(uv: Path, sandbox: Sandbox, index: Upstream) -> None:
    assert_installed(sandbox, index, uv_install(uv, sandbox, INDEX))


def test_uv_asks_a_refused_index_once(uv: Path, sandbox: Sandbox) -> None:
    done = uv_install(uv, sandbox, "https://other.example/simple/")
    assert done.code != 0
    assert "403 Forbidden" in done.stderr  # uv shows the status and nothing of the answer
    sandbox.refused_once("host_not_allowed")
