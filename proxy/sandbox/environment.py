"""The environment of a sandbox: an allow-list, the clients' table and the fakes. Nothing else of the host's."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from proxy.clients import environment as clients_environment
from proxy.errors import ConfigError
from proxy.sandbox.layout import CERTIFICATES, Layout
from proxy.sandbox.masks import holds_login
from proxy.sandbox.mount import visible
from proxy.sandbox.profile import Profile

# What a terminal, a language and a clock need. Never an address of a socket, nor what makes a program load code.
_PASSED = (
    *("USER", "LOGNAME", "TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "LANG", "LANGUAGE", "TZ"),
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "EDITOR", "VISUAL", "PAGER", "CI"),
)
# Which indexes and registries the user's clients are configured to use, as `outgate init` finds them.
_ADDRESSES = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL"),
    *("UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "NPM_CONFIG_REGISTRY", "npm_config_registry", "GOPROXY", "GOSUMDB"),
    *("GOPRIVATE", "GONOSUMDB", "GONOPROXY"),
)


def left_out(host: Mapping[str, str]) -> list[str]:
    """Variables that clients inside will miss: their address has a name or a password in it."""
    return [name for name in _ADDRESSES if holds_login(host.get(name, ""))]


def environment(  # noqa: PLR0913  each is a part of the environment
    host: Mapping[str, str],
    layout: Layout,
    profile: Profile,
    *,
    proxy_url: str,
    fakes: Mapping[str, str],
    sandbox: str,
    secrets: frozenset[str],
) -> dict[str, str]:
    """Every variable inside. `secrets` are the names of variables of the host that hold a secret.

    Raises `ConfigError` where the profile passes one of them, or its value by another name, or gives what is a fake.
    """
    _check(host, profile, fakes, secrets)
    known = {*_PASSED, *_ADDRESSES}.difference(left_out(host))
    allowed = {name: value for name, value in host.items() if name in known or name.startswith("LC_")}
    passed = {name: host[name] for name in profile.passed if name in host}
    fixed = {
        "PATH": os.pathsep.join(layout.path),
        "HOME": layout.home,
        "SHELL": _shell(host, layout),
        "TMPDIR": "/tmp",  # noqa: S108  a new one, inside
        "OUTGATE_SANDBOX": sandbox,
    }
    table = clients_environment(
        proxy_url, f"{CERTIFICATES}/ca.pem", f"{CERTIFICATES}/ca-bundle.pem", f"{CERTIFICATES}/truststore.p12"
    )
    given = {name: _at_home(value, layout.home) for name, value in profile.variables.items()}
    return {**allowed, **passed, **_git(given, proxy_url, layout.ssh_hosts), **fakes, **table, **fixed}


def _git(given: dict[str, str], proxy_url: str, ssh_hosts: Iterable[str]) -> dict[str, str]:
    """What git needs beside what the profile gives it (git-config(1), "GIT_CONFIG_COUNT").

    A proxy in a configuration stands over the variables. SSH has no way out, so its remotes are asked over HTTPS.
    """
    settings = [("http.proxy", proxy_url)]
    for host in ssh_hosts:
        settings += [(f"url.https://{host}/.insteadOf", form) for form in (f"git@{host}:", f"ssh://git@{host}/")]
    count = given.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0
    for number, (key, value) in enumerate(settings, first):
        given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {**given, "GIT_CONFIG_COUNT": str(first + len(settings))}


def _check(host: Mapping[str, str], profile: Profile, fakes: Mapping[str, str], secrets: frozenset[str]) -> None:
    values = {host[name] for name in secrets if host.get(name)}
    for name in profile.passed:
        if name in secrets or host.get(name) in values:
            hint = f"remove {name} from `pass`: the sandbox gets a fake, and the proxy sends the real one"
            raise ConfigError(
                f"the profile passes {name}, which holds a secret of the policy", hint, str(profile.source)
            )
    for name in (*profile.passed, *profile.variables):
        if name in fakes:
            hint = "remove it from the profile"
            raise ConfigError(f"the profile gives {name}, where the policy's fake belongs", hint, str(profile.source))


def _shell(host: Mapping[str, str], layout: Layout) -> str:
    shell = host.get("SHELL", "")
    inside = shell.startswith("/") and visible(layout.mounts, Path(os.path.realpath(shell)))
    return shell if inside else "/bin/sh"


def _at_home(value: str, home: str) -> str:
    return f"{home}/{value[2:]}" if value.startswith("~/") else value
