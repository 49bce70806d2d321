"""The environment of a sandbox: what of the host's is in it, and what is not."""

import pytest

from proxy.clients import NAMES
from proxy.errors import ConfigError
from proxy.sandbox.environment import environment
from proxy.sandbox.layout import lay_out
from tests.sandbox.box import Box

HOST = {
    "PATH": "/usr/bin:/home/me/evil",
    "HOME": "/home/me",
    "USER": "me",
    "TERM": "xterm-256color",
    "LANG": "de_DE.UTF-8",
    "LC_TIME": "C",
    "NO_COLOR": "1",
    "SHELL": "/bin/sh",
    "MY_TOOL": "here",
    "ANTHROPIC_API_KEY": "the real key",
    "SAME_KEY": "the real key",
    "EMPTY_KEY": "",
    "HTTPS_PROXY": "http://other:1",
    "SSL_CERT_FILE": "/other",
}
NEVER = {
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "GIT_DIR", "GIT_SSH_COMMAND"),
    *(
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "DOCKER_HOST",
        "ALL_PROXY",
        "BASH_ENV",
        "ENV",
        "VIRTUAL_ENV",
        "SUDO_USER",
    ),
}


def made(box: Box, fakes: dict[str, str] | None = None, **changes: object) -> dict[str, str]:
    profile = box.profile(**changes)
    host = {**HOST, **dict.fromkeys(NEVER, "host's")}
    return environment(
        host,
        lay_out(box.wanted(profile=profile)),
        profile,
        proxy_url="http://127.0.0.1:3128",
        fakes=fakes or {},
        sandbox="box-1",
        secrets=frozenset({"ANTHROPIC_API_KEY", "EMPTY_KEY", "NOT_SET"}),
    )


def test_what_a_terminal_needs_is_there_and_nothing_else(paper: Box) -> None:
    found = made(paper)
    own = {name: value for name, value in found.items() if name not in NAMES and not name.startswith("GIT_CONFIG_")}
    assert own == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(paper.home),
        "USER": "me",
        "TERM": "xterm-256color",
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "NO_COLOR": "1",
        "SHELL": "/bin/sh",
        "TMPDIR": "/tmp",  # noqa: S108
        "OUTGATE_SANDBOX": "box-1",
    }
    assert not set(found) & NEVER


def test_the_clients_table_is_there_with_the_places_inside(paper: Box) -> None:
    found = made(paper)
    assert set(found) >= NAMES
    assert found["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert (found["SSL_CERT_FILE"], found["NODE_EXTRA_CA_CERTS"]) == (
        "/run/outgate/ca-bundle.pem",
        "/run/outgate/ca.pem",
    )
    assert "trustStore=/run/outgate/truststore.p12" in found["JAVA_TOOL_OPTIONS"]


def test_a_profile_adds_variables(paper: Box) -> None:
    found = made(
        paper, passed=("MY_TOOL", "NOT_THERE"), variables={"AGENT_HOME": "~/.agent", "TERM": "dumb", "A": "a~/b"}
    )
    assert found["MY_TOOL"] == "here"
    assert (found["AGENT_HOME"], found["A"], found["TERM"]) == (f"{paper.home}/.agent", "a~/b", "dumb")
    assert "NOT_THERE" not in found


def test_fakes_are_there(paper: Box) -> None:
    assert made(paper, {"ANTHROPIC_API_KEY": "fake"})["ANTHROPIC_API_KEY"] == "fake"


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "SAME_KEY", "NOT_SET"])
def test_a_secret_is_not_passed_by_any_name(paper: Box, name: str) -> None:
    with pytest.raises(ConfigError, match=f"passes {name}, which holds a secret") as error:
        made(paper, passed=(name,))
    assert "the real key" not in str(error.value.problems)


def test_a_fake_is_not_replaced_by_the_profile(paper: Box) -> None:
    for changes in ({"passed": ("MY_TOOL",)}, {"variables": {"MY_TOOL": "x"}}):
        with pytest.raises(ConfigError, match="gives MY_TOOL, where the policy's fake belongs"):
            made(paper, {"MY_TOOL": "fake"}, **changes)


def test_a_shell_that_is_not_inside_is_not_named(paper: Box) -> None:
    host = {**HOST, "SHELL": str(paper.write("home/bin/fish"))}
    profile = paper.profile()
    found = environment(
        host,
        lay_out(paper.wanted()),
        profile,
        proxy_url="http://127.0.0.1:1",
        fakes={},
        sandbox="x",
        secrets=frozenset(),
    )
    assert found["SHELL"] == "/bin/sh"
