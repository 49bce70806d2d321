"""`outgate serve`: check everything that can be wrong, then run the proxy."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FOOTER = """\
Each option can also be set as an environment variable (OUTGATE_ and the name in capitals, `_` for `-`; the values of
a repeatable option are separated by commas) or as a key of outgate.yaml (the name with `_` for `-`). A flag beats the
environment, the environment beats the file.

Clients need a sandbox token, made with `outgate env`, if there are several policies or if the address to listen on
is not a loopback address. Otherwise they need none.
"""


def config_option[F: Callable[..., Any]](command: F) -> F:
    """The option that names the settings file, for every command that reads settings."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read settings from FILE.  [default: outgate.yaml in the working folder, if it is there]",
    )(command)


def state_option[F: Callable[..., Any]](command: F) -> F:
    """The option that names the state folder."""
    return click.option(
        "--state",
        metavar="DIR",
        help="Keep CA, keys and audit log in DIR.  [default: $XDG_STATE_HOME/outgate or ~/.local/state/outgate]",
    )(command)


@click.command(epilog=FOOTER)
@click.option(
    "--policy", metavar="PATH", multiple=True, help="A policy file, or a folder of them. Repeatable.  [required]"
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to accept clients; port 0 picks one.  [default: 127.0.0.1:8899]"
)
@click.option("--workers", type=int, metavar="N", help="How many worker processes.  [default: one per usable core]")
@state_option
@click.option(
    "--ready-file",
    metavar="PATH",
    help="Write JSON (address, ca_file, policies, pid, tokens) to PATH once connections are accepted.",
)
@click.option(
    "--upstream-ca",
    metavar="FILE",
    multiple=True,
    help="Trust the PEM certificates in FILE beside the public roots, for upstreams. Repeatable.",
)
@click.option(
    "--connect-to",
    metavar="HOST:PORT:ADDR:PORT",
    multiple=True,
    help="Dial ADDR:PORT for HOST:PORT, as curl's option of this name; ADDR is an IP address, and is not checked "
    "against the private ranges. The certificate is still verified for HOST. Repeatable.",
)
@click.option(
    "--allow-anonymous",
    is_flag=True,
    default=None,
    help="Let clients without a token use the policy, also beyond loopback. Needs exactly one policy.",
)
@click.option(
    "--audit",
    type=click.Choice(["files", "stdout"]),
    help="Write audit events to files in the state folder, or to standard output.  [default: files]",
)
@click.option(
    "--audit-max-bytes",
    metavar="SIZE",
    help="Close an audit file at this size, as in 64MiB, and compress it.  [default: 64MiB]",
)
@click.option("--audit-max-age", metavar="TIME", help="Close an audit file at this age, as in 24h.  [default: 24h]")
@click.option(
    "--audit-fsync",
    type=click.Choice(["never", "checkpoint", "always"]),
    help="When the audit log is forced to the disk.  [default: checkpoint]",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Answer /metrics, /healthz and /readyz there, for the operator alone.  [default: none]",
)
@config_option
@click.pass_context
def serve(context: click.Context, /, config: Path | None, **flags: object) -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    from proxy.ca import read_certificates
    from proxy.config.load import load_policies
    from proxy.errors import ConfigError
    from proxy.settings import load_settings, tokens_required
    from proxy.watch import snapshot

    settings = load_settings(flags, os.environ, Path.cwd(), config)
    if not settings.policy:
        raise ConfigError("no policy was given", "name a policy file or a folder of them: --policy PATH")
    for file in settings.upstream_ca:
        read_certificates(file)
    seen = snapshot(settings.policy)
    policies = load_policies(settings.policy)
    tokens_required(settings, len(policies))

    from proxy.engine.supervisor import serve as run

    context.exit(run(settings, policies, seen))
