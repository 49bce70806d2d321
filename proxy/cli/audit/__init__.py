"""`outgate audit`: the audit log, reviewed, verified and handed on."""

import click

from proxy.cli.audit.denied import denied
from proxy.cli.audit.export import export
from proxy.cli.audit.key import key
from proxy.cli.audit.mark_reviewed import mark_reviewed
from proxy.cli.audit.new import new
from proxy.cli.audit.query import query
from proxy.cli.audit.report import report
from proxy.cli.audit.show import show
from proxy.cli.audit.summary import summary
from proxy.cli.audit.tail import tail
from proxy.cli.audit.traces import traces
from proxy.cli.audit.verify import verify


@click.group()
def audit() -> None:
    """Review the audit log, verify it, and hand it on to other systems."""


for command in (summary, new, mark_reviewed, denied, show, tail, query, report, verify, export, traces, key):
    audit.add_command(command)
