"""`outgate audit key`: the public part of the key that signs checkpoints."""

import os
from pathlib import Path

import click

from proxy import terminal
from proxy.cli.serve import config_option, state_option


@click.command()
@state_option
@config_option
def key(state: str | None, config: Path | None) -> None:
    """Print the public key that verifies the checkpoints of this state folder, as 64 hex digits.

    Keep it where whoever could change the log cannot: `outgate audit verify --public-key` takes it.
    """
    from proxy.audit.key import load, public_hex
    from proxy.settings import load_settings
    from proxy.state import open_state

    settings = load_settings({"state": state}, os.environ, Path.cwd(), config)
    terminal.say(public_hex(load(open_state(settings.state, create=False))))
