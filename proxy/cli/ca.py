"""`outgate ca`: show, make and replace the CA that sandboxes trust."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import terminal
from proxy.cli.serve import config_option, state_option

if TYPE_CHECKING:
    from proxy.ca import CertificateAuthority
    from proxy.state import StateDir


@click.group()
def ca() -> None:
    """Show, make or replace the CA that sandboxes trust."""


@ca.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@state_option
@config_option
def show(as_json: bool, state: str | None, config: Path | None) -> None:
    """Print path, subject, fingerprint, validity and key type of the CA."""
    from proxy.ca import load

    folder = _folder(state, config, create=False)
    described = _describe(folder, load(folder))
    if as_json:
        terminal.as_json(described)
    else:
        terminal.facts((label.replace("_", " "), value) for label, value in described.items())


@ca.command()
@state_option
@config_option
def create(state: str | None, config: Path | None) -> None:
    """Make the CA, as the first `outgate serve` would. An existing one is kept."""
    from proxy.ca import load_or_create

    folder = _folder(state, config, create=True)
    existed = folder.ca_cert.exists()
    authority = load_or_create(folder)
    if existed:
        terminal.note("there already is a CA; it was kept")
    terminal.facts((label.replace("_", " "), value) for label, value in _describe(folder, authority).items())


@ca.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@config_option
def rotate(yes: bool, state: str | None, config: Path | None) -> None:
    """Replace the CA. The old files stay beside the new ones, with a date in their names."""
    from proxy.ca import rotate as replace
    from proxy.errors import ConfigError

    folder = _folder(state, config, create=False)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to ask", "run `outgate ca rotate --yes`")
        click.confirm("Every sandbox that trusts the old CA must fetch the new one. Replace it?", abort=True, err=True)
    authority, kept = replace(folder)
    for path in kept:
        terminal.note(f"kept {path}")
    terminal.facts((label.replace("_", " "), value) for label, value in _describe(folder, authority).items())
    terminal.note("restart `outgate serve`; then every sandbox must fetch the new CA")


def _folder(state: str | None, config: Path | None, *, create: bool) -> "StateDir":
    from proxy.settings import load_settings
    from proxy.state import open_state

    settings = load_settings({"state": state}, os.environ, Path.cwd(), config)
    return open_state(settings.state, create=create)


def _describe(folder: "StateDir", authority: "CertificateAuthority") -> dict[str, str]:
    certificate = authority.certificate
    return {
        "ca_file": str(folder.ca_cert),
        "bundle_file": str(folder.ca_bundle),
        "subject": authority.subject,
        "sha256_fingerprint": authority.fingerprint,
        "not_before": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key_type": "ECDSA P-256",
    }
