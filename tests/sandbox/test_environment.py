"""The environment of a sandbox: what of the host's is in it, and what is not."""

import pytest

from proxy.clients import NAMES
from proxy.errors import ConfigError
from proxy.sandbox.environment import environment, left_out
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


def test_addresses_of_indexes_are_there_unless_they_hold_a_login(paper: Box) -> None:
    host = {
        "PIP_INDEX_URL": "https://packages.example/simple/",
        "UV_INDEX": "https://token@packages.example/simple/",
        "GOPROXY": "https://modules.example,https://me:word@other.example",
        "NPM_CONFIG_REGISTRY": "https://registry.example/",
    }
    found = environment(
        host,
        lay_out(paper.wanted()),
        paper.profile(),
        proxy_url="http://127.0.0.1:1",
        fakes={},
        sandbox="x",
        secrets=frozenset(),
    )
    assert {name: found[name] for name in host if name in found} == {
        name: host[name] for name in ("PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
    }
    assert left_out(host) == ["UV_INDEX", "GOPROXY"]


def test_git_asks_the_proxy_and_no_remote_by_ssh(paper: Box) -> None:
    """After what the profile sets, which keeps its places."""
    repository = paper.project / ".git"
    for name in ("objects", "refs"):
        (repository / name).mkdir(parents=True)
    (repository / "HEAD").write_text("ref: refs/heads/main\n")
    (repository / "config").write_text(
        '[remote "origin"]\n\turl = git@code.example:acme/app.git\n[remote "other"]\n\turl=ssh://git@two.example/x\n'
        "[remote]\n\turl = https://git@three.example/\n"
    )
    (paper.project / ".gitmodules").write_text('[submodule "x"]\n\turl = git@four.example:x\n')
    found = made(paper)
    pairs = {
        (found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"])
        for number in range(int(found["GIT_CONFIG_COUNT"]))
    }
    assert pairs == {
        ("commit.gpgsign", "false"),
        ("tag.gpgsign", "false"),
        ("http.proxy", "http://127.0.0.1:3128"),
        *(
            (f"url.https://{host}/.insteadOf", form)
            for host in ("code.example", "two.example", "four.example")
            for form in (f"git@{host}:", f"ssh://git@{host}/")
        ),
    }
