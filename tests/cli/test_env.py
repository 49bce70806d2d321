"""`outgate env`, against the files of a running proxy (here: of this process)."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ca import load_or_create
from proxy.cli.env import _dotenv
from proxy.clients import NAMES
from proxy.config.load import load_policies
from proxy.credentials.placeholder import placeholder
from proxy.errors import ConfigError
from proxy.identity import ANONYMOUS, Claims, Keys, load_or_create_keys, verify
from proxy.ready import Ready, ReadyPolicy, write_ready
from proxy.state import open_state

_PROXY = re.compile(r"http://([^:@]+):([^:@]+)@(.+)")


def running(folder: Path, policies: str = "web.yaml", address: str = "127.0.0.1:8899", *, tokens: bool = False) -> Keys:
    """Write what a proxy would have written into the state folder `s`."""
    state = open_state(folder / "s")
    load_or_create(state)
    loaded = load_policies([folder / policies])
    ready = tuple(ReadyPolicy(policy.name, policy.digest, policy.source) for policy in loaded)
    write_ready(state.ready, Ready(address, str(state.ca_cert), ready, os.getpid(), tokens))
    return load_or_create_keys(state)


def variables(outgate: Any, *arguments: str) -> dict[str, str]:
    result = outgate("env", "--state", "s", "--format", "json", *arguments)
    assert (result.code, result.err) == (0, "")
    found: dict[str, str] = json.loads(result.out)
    return found


def claims(keys: Keys, proxy_url: str) -> tuple[str, Claims]:
    match = _PROXY.fullmatch(proxy_url)
    assert match, proxy_url
    return match[1], verify(keys.tokens, match[2], time.time())


def test_a_sandbox_gets_proxy_ca_and_placeholders(outgate: Any, folder: Path) -> None:
    keys = running(folder)
    found = variables(outgate)
    assert set(found) == NAMES | {"ANTHROPIC_API_KEY"}
    assert found["HTTPS_PROXY"] == found["http_proxy"] == "http://127.0.0.1:8899"
    assert found["NODE_EXTRA_CA_CERTS"] == str(folder / "s" / "ca.pem")
    assert Path(found["SSL_CERT_FILE"]).read_bytes().endswith((folder / "s" / "ca.pem").read_bytes())
    (policy,) = load_policies([folder / "web.yaml"])
    spec = policy.credentials["anthropic"]
    assert found["ANTHROPIC_API_KEY"] == placeholder(keys.placeholders, ANONYMOUS, "web", spec)


def test_the_real_secret_is_never_read_or_printed(outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-the-real-one")
    running(folder)
    result = outgate("env", "--state", "s")
    assert "the-real-one" not in result.out + result.err


def test_a_proxy_with_several_policies_gives_tokens(outgate: Any, folder: Path) -> None:
    keys = running(folder, "both", tokens=True)
    found = variables(outgate, "--policy", "web", "--name", "task-123")
    name, token = claims(keys, found["HTTPS_PROXY"])
    assert (name, token.sandbox, token.policy, token.expires - token.issued) == (
        "task-123",
        "task-123",
        "web",
        8 * 3600,
    )
    (spec,) = load_policies([folder / "web.yaml"])[0].credentials.values()
    assert found["ANTHROPIC_API_KEY"] == placeholder(keys.placeholders, "task-123", "web", spec)
    assert found["HTTPS_PROXY"].endswith("@127.0.0.1:8899")


def test_a_name_is_made_up_where_none_is_given(outgate: Any, folder: Path) -> None:
    keys = running(folder, tokens=True)
    names = {claims(keys, variables(outgate)["HTTPS_PROXY"])[1].sandbox for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"sandbox-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("arguments", [["--name", "a"], ["--ttl", "2m"]])
def test_asking_for_a_name_or_a_time_makes_a_token_anyway(outgate: Any, folder: Path, arguments: list[str]) -> None:
    keys = running(folder)
    assert claims(keys, variables(outgate, *arguments)["HTTPS_PROXY"])[1].policy == "web"


@pytest.mark.parametrize(("ttl", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("30d", 2592000)])
def test_how_long_a_token_holds(outgate: Any, folder: Path, ttl: str, seconds: int) -> None:
    token = claims(running(folder), variables(outgate, "--ttl", ttl)["HTTPS_PROXY"])[1]
    assert token.expires - token.issued == seconds


@pytest.mark.parametrize(
    ("address", "proxy", "shown"),
    [
        ("[::1]:1", None, "http://[::1]:1"),
        ("127.0.0.1:1", "host.example:8080", "http://host.example:8080"),
        ("0.0.0.0:1", "10.0.0.1:1", "http://10.0.0.1:1"),
    ],
)
def test_the_address_of_the_proxy(outgate: Any, folder: Path, address: str, proxy: str | None, shown: str) -> None:
    running(folder, address=address)
    assert variables(outgate, *(["--proxy", proxy] if proxy else []))["HTTPS_PROXY"] == shown


@pytest.mark.parametrize(
    ("policies", "arguments", "message", "hint"),
    [
        ("both", [], "the proxy has several policies", "--policy: other, web"),
        ("both", ["--policy", "nix"], "the proxy has no policy 'nix'", "--policy: other, web"),
        ("web.yaml", ["--policy", "nix"], "the proxy has no policy 'nix'", "--policy: web"),
        ("web.yaml", ["--ttl", "8"], "not a time to live: '8'", "8h"),
        ("web.yaml", ["--ttl", "0h"], "not a time to live", "8h"),
        ("web.yaml", ["--ttl", "31d"], "the time to live is out of bounds", "30d"),
        ("web.yaml", ["--name", "a b"], "not a sandbox name: 'a b'", "63 letters"),
        ("web.yaml", ["--name", ""], "not a sandbox name: ''", "63 letters"),
        ("web.yaml", ["--proxy", "host"], "the port is missing", "--proxy HOST:PORT"),
        ("web.yaml", ["--proxy", "a b:1"], "not host:port", "--proxy HOST:PORT"),
        ("web.yaml", ["--proxy", "0.0.0.0:1"], "cannot be told which one", "--proxy HOST:PORT"),
    ],
)
def test_misuse_prints_no_environment(
    outgate: Any, folder: Path, policies: str, arguments: list[str], message: str, hint: str
) -> None:
    running(folder, policies)
    result = outgate("env", "--state", "s", *arguments)
    assert (result.code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert message in first
    assert hint in second


def test_without_a_running_proxy_it_says_so(outgate: Any, folder: Path) -> None:
    missing = outgate("env", "--state", "s")
    assert (missing.code, missing.out) == (2, "")
    assert "there is no state folder" in missing.err
    open_state(folder / "s")
    assert "no proxy runs on this state folder\nhint: start `outgate serve`" in outgate("env", "--state", "s").err


def test_a_policy_that_changed_since_is_noted_on_stderr(outgate: Any, folder: Path) -> None:
    running(folder)
    (folder / "web.yaml").write_text((folder / "web.yaml").read_text().replace("/v1/messages", "/v1/other"))
    result = outgate("env", "--state", "s")
    assert result.code == 0
    assert "has changed since the proxy read it" in result.err
    (folder / "web.yaml").write_text((folder / "web.yaml").read_text().replace("name: web", "name: web2"))
    result = outgate("env", "--state", "s")
    assert (result.code, result.out) == (2, "")
    assert "no longer holds the policy web" in result.err


def test_a_placeholder_cannot_take_a_variable_that_is_in_use(outgate: Any, folder: Path) -> None:
    web = (folder / "web.yaml").read_text()
    (folder / "web.yaml").write_text(web.replace("placeholder: ANTHROPIC_API_KEY", "placeholder: SSL_CERT_FILE"))
    running(folder)
    result = outgate("env", "--state", "s")
    assert (result.code, result.out) == (2, "")
    assert "needs SSL_CERT_FILE, which is in use" in result.err


@pytest.mark.parametrize("name", ["plain", 'it\'s $(here) "now" `x` \\ #1'])
def test_a_shell_reads_back_every_value(outgate: Any, folder: Path, name: str) -> None:
    state = open_state(folder / "s")
    running(folder)
    ready = Ready("127.0.0.1:8899", str(folder / name / "ca.pem"), _ready_policies(folder), os.getpid(), tokens=False)
    write_ready(state.ready, ready)
    wanted = variables(outgate)
    text = outgate("env", "--state", "s").out
    read = subprocess.run(["sh", "-c", f"{text}\nenv -0"], capture_output=True, text=True, check=True, env={}).stdout
    found = dict(entry.split("=", 1) for entry in read.split("\0") if entry)
    assert {key: found[key] for key in wanted} == wanted
    assert wanted["NODE_EXTRA_CA_CERTS"] == str(folder / name / "ca.pem")


def _ready_policies(folder: Path) -> tuple[ReadyPolicy, ...]:
    (policy,) = load_policies([folder / "web.yaml"])
    return (ReadyPolicy(policy.name, policy.digest, policy.source),)


def test_an_env_file_has_no_quotes_where_none_are_needed(outgate: Any, folder: Path) -> None:
    running(folder, tokens=True)
    lines = outgate("env", "--state", "s", "--format", "dotenv").out.splitlines()
    assert len(lines) == len(NAMES) + 1
    quoted = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_]+=[^'\"\s]+", line)]
    assert [line.partition("=")[0] for line in quoted] == ["JAVA_TOOL_OPTIONS"]


@given(st.text())
def test_an_env_file_value_means_itself_or_is_refused(value: str) -> None:
    try:
        line = _dotenv("NAME", value)
    except ConfigError:
        assert "'" in value or not value.isprintable()
        return
    assert line.isprintable()
    assert shlex.split(line) == ["NAME=" + value]


@pytest.mark.parametrize(
    ("form", "name"), [("dotenv", "it's"), ("dotenv", "a\nb"), ("shell", "a\nb"), ("shell", "\x1b")]
)
def test_a_path_that_a_format_cannot_carry_is_an_error(outgate: Any, folder: Path, form: str, name: str) -> None:
    running(folder)
    ready = Ready("127.0.0.1:8899", str(folder / name / "ca.pem"), _ready_policies(folder), os.getpid(), tokens=False)
    write_ready(folder / "s" / "ready.json", ready)
    result = outgate("env", "--state", "s", "--format", form)
    assert (result.code, result.out) == (2, "")
    assert "holds a character that this format cannot carry" in result.err
    assert variables(outgate)["DENO_CERT"] == str(folder / name / "ca.pem")
