"""`outgate env`: what a sandbox needs in its environment to work through the running proxy."""

import os
import re
import secrets
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.errors import OutgateError
    from proxy.policy.rules import Policy
    from proxy.ready import Ready, ReadyPolicy

DEFAULT_TTL = "8h"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TTL = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]*", re.ASCII)


@click.command()
@click.option("--policy", metavar="NAME", help="The policy of the sandbox. May be left out if the proxy has only one.")
@click.option("--ttl", metavar="TIME", help=f"How long the token holds: 30m, 8h, 7d.  [default: {DEFAULT_TTL}]")
@click.option("--name", metavar="NAME", help="The sandbox's name in the audit log.  [default: a random one]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["shell", "dotenv", "json"]),
    default="shell",
    show_default=True,
    help="For eval, for an env file, or for a program.",
)
@click.option(
    "--proxy", metavar="HOST:PORT", help="The proxy's address as the sandbox sees it.  [default: as it listens]"
)
@state_option
@config_option
def env(  # noqa: PLR0913, PLR0917  one parameter for each option
    policy: str | None,
    ttl: str | None,
    name: str | None,
    form: str,
    proxy: str | None,
    state: str | None,
    config: Path | None,
) -> None:
    """Print the environment of a sandbox: proxy, CA and placeholder variables.

    Reads what the running proxy wrote into its state folder. Use it as: eval "$(outgate env)". A signed token is part
    of the proxy URL where the proxy asks for one, or where --name or --ttl is given; whoever has it can use the
    policy until it expires.
    """
    from proxy.clients import environment
    from proxy.credentials.placeholder import placeholders
    from proxy.identity import ANONYMOUS, load_or_create_keys, mint
    from proxy.ready import read_ready
    from proxy.settings import load_settings
    from proxy.state import open_state

    settings = load_settings({"state": state}, os.environ, Path.cwd(), config)
    folder = open_state(settings.state, create=False)
    ready = read_ready(folder.ready)
    chosen = _choose(ready, policy)
    address = _address(ready, proxy)
    keys = load_or_create_keys(folder)
    if ready.tokens or name is not None or ttl is not None:
        sandbox = name if name is not None else f"sandbox-{secrets.token_hex(4)}"
        token = mint(keys.tokens, sandbox, chosen.name, _seconds(ttl or DEFAULT_TTL), time.time())
        proxy_url = f"http://{sandbox}:{token}@{address}"
    else:
        sandbox, proxy_url = ANONYMOUS, f"http://{address}"
    bundle, java = (Path(ready.ca_file).with_name(path.name) for path in (folder.ca_bundle, folder.truststore))
    variables = environment(proxy_url, ready.ca_file, str(bundle), str(java))
    variables.update(placeholders(keys.placeholders, sandbox, _load(chosen), variables))
    _print(variables, form)


def _choose(ready: "Ready", name: str | None) -> "ReadyPolicy":
    from proxy.errors import ConfigError

    names = [policy.name for policy in ready.policies]
    if name is None and len(names) == 1:
        return ready.policies[0]
    if name not in names:
        message = "the proxy has several policies" if name is None else f"the proxy has no policy {name!r}"
        raise ConfigError(message, f"choose one with --policy: {', '.join(names)}")
    return ready.policies[names.index(name)]


def _address(ready: "Ready", proxy: str | None) -> str:
    from proxy.errors import ConfigError
    from proxy.policy.host import MalformedHost, parse_authority

    try:
        authority = parse_authority(proxy or ready.address, None)
    except MalformedHost as error:
        raise ConfigError(f"the proxy's address is {error}", "use --proxy HOST:PORT") from None
    if authority.host.address is not None and authority.host.address.is_unspecified:
        raise ConfigError(
            "the proxy listens on every address, so it cannot be told which one the sandbox reaches",
            "say it with --proxy HOST:PORT",
        )
    return str(authority)


def _seconds(ttl: str) -> int:
    from proxy.errors import ConfigError

    match = _TTL.fullmatch(ttl)
    if match is None:
        raise ConfigError(f"not a time to live: {ttl[:40]!r}", "use a number and a unit: 90s, 30m, 8h, 7d")
    return int(match[1]) * _UNITS[match[2]]


def _load(chosen: "ReadyPolicy") -> "Policy":
    from proxy.config.load import load_policies
    from proxy.errors import ConfigError

    policies = {policy.name: policy for policy in load_policies([Path(chosen.source)])}
    policy = policies.get(chosen.name)
    if policy is None:
        raise ConfigError(
            f"the file no longer holds the policy {chosen.name}", "restart `outgate serve`", chosen.source
        )
    if policy.digest != chosen.digest:
        terminal.note(f"{chosen.source} has changed since the proxy read it; restart `outgate serve` to use it")
    return policy


def _print(variables: dict[str, str], form: str) -> None:
    if form == "json":
        terminal.as_json(variables)
        return
    write = _shell if form == "shell" else _dotenv
    # All lines first: half an environment is worse than none.
    lines = [write(name, value) for name, value in variables.items()]
    terminal.say("\n".join(lines))


def _shell(name: str, value: str) -> str:
    if not value.isprintable():
        raise _unwritable(name)
    return f"export {name}={shlex.quote(value)}"


def _dotenv(name: str, value: str) -> str:
    """Bare where every reader agrees, because `docker run --env-file` takes quotes literally; else in single quotes.

    What needs more is refused: readers of env files do not agree on escapes.
    """
    if _BARE.fullmatch(value):
        return f"{name}={value}"
    if "'" in value or not value.isprintable():
        raise _unwritable(name)
    return f"{name}='{value}'"


def _unwritable(name: str) -> "OutgateError":
    from proxy.errors import ConfigError

    return ConfigError(
        f"the value of {name} holds a character that this format cannot carry",
        "use --format json, or a state folder with a plainer name",
    )
