"""`outgate audit`: the audit log, verified and handed on."""

import click

from proxy.cli.audit.export import export
from proxy.cli.audit.key import key
from proxy.cli.audit.verify import verify


@click.group()
def audit() -> None:
    """Verify the audit log, and hand it on to other systems."""


for command in (verify, export, key):
    audit.add_command(command)
