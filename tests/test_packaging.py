"""What is installed, and what the image is made of."""

import re
import runpy
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pip._internal.models.index import PyPI

ROOT = Path(__file__).parent.parent
LOCKS = ["build", "dev", "runtime"]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PYPROJECT["dependency-groups"]
REVIEW = PYPROJECT["project"]["optional-dependencies"]["review"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HEALTHCHECK = ROOT / "packaging/healthcheck.py"


def entries(lock: str) -> list[str]:
    """The entries of a lock file, each with its hashes on one line."""
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pinned(lock: str) -> dict[str, list[Requirement]]:
    """The requirements of a lock file by name; several where markers tell Python versions apart."""
    found: dict[str, list[Requirement]] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.split(" --hash")[0])
        found.setdefault(requirement.name, []).append(requirement)
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_a_lock_file_is_pinned_with_a_hash(lock: str) -> None:
    for entry in entries(lock):
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+ *", entry), entry[:120]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_host_and_no_index(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8")
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host| @ ", text) == []


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_mitmproxy_is_the_version_that_the_engine_was_written_for(lock: str) -> None:
    assert [str(requirement) for requirement in pinned(lock)["mitmproxy"]] == ["mitmproxy==12.2.3"]


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("runtime", PYPROJECT["project"]["dependencies"]),
        ("build", GROUPS["build"]),
        (
            "dev",
            [
                *PYPROJECT["project"]["dependencies"],
                *REVIEW,
                *filter(lambda name: isinstance(name, str), GROUPS["dev"]),
            ],
        ),
    ],
    ids=LOCKS,
)
def test_a_lock_file_satisfies_pyproject(lock: str, wanted: list[str]) -> None:
    locked = pinned(lock)
    for requirement in map(Requirement, wanted):
        for pin in locked[requirement.name]:
            version = next(iter(pin.specifier)).version
            assert requirement.specifier.contains(version), f"{requirement} but {pin}: run `make lock`"


@pytest.mark.parametrize("lock", ["build", "runtime"])
def test_development_uses_the_versions_that_are_shipped(lock: str) -> None:
    assert set(entries(lock)) <= set(entries("dev"))


def test_what_only_review_needs_is_not_in_the_image() -> None:
    assert {Requirement(line).name for line in REVIEW} & pinned("runtime").keys() == set()


def test_the_image_runs_as_a_fixed_user_that_is_not_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"


def test_the_image_takes_every_package_by_hash_and_nothing_else() -> None:
    installs = re.findall(r"pip (?:\S+ \S+ )?(?:install|wheel) (.+)", DOCKERFILE)
    assert len(installs) == 4
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_only_what_the_image_is_made_of_reaches_its_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")} <= {
        *("addons", "proxy", "pyproject.toml", "README.md", "LICENSE", "packaging/healthcheck.py", "policies/profiles"),
        *("requirements/build.txt", "requirements/runtime.txt"),
    }


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the configuration of whoever installs them."""
    hosts = "|".join(map(re.escape, (PyPI.netloc, PyPI.file_storage_domain)))
    configured = (
        r"(?:index-url|find-links|registry)['\"]?\s*[=:]\s*['\"]?https?://(?![\w.-]*\bexample\.(?:com|org|net)\b)"
    )
    named = re.compile(f"{hosts}|{configured}")
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in tracked()
        for match in named.finditer(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def health(state: Path) -> subprocess.CompletedProcess[str]:
    environment = {"OUTGATE_STATE": str(state)}
    command = [sys.executable, "-I", str(HEALTHCHECK)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_health_check_passes_while_the_proxy_accepts_connections(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "ready.json").write_text(f'{{"address": "127.0.0.1:{port}"}}', encoding="utf-8")
        assert health(tmp_path).returncode == 0
    done = health(tmp_path)
    assert (done.returncode, done.stderr.split(":")[0]) == (1, "not ready")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"address": 8899}', '{"address": "127.0.0.1:http"}'])
def test_the_health_check_fails_without_a_traceback(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ready.json").write_text(text, encoding="utf-8")
    done = health(tmp_path)
    assert (done.returncode, done.stderr.split(":")[0], done.stderr.count("\n")) == (1, "not ready", 1)


def test_the_health_check_reaches_an_ipv6_address(tmp_path: Path) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with server:
        address = f"[::1]:{server.getsockname()[1]}"
        (tmp_path / "ready.json").write_text(f'{{"address": "{address}"}}', encoding="utf-8")
        assert runpy.run_path(str(HEALTHCHECK))["check"](tmp_path) == ""
