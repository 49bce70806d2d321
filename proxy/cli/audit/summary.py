"""`outgate audit summary`: what happened, on one screen or two."""

import click

from proxy.cli.audit.answers import give
from proxy.cli.audit.options import Asked, form_options, reading_log, review_options


@click.command()
@review_options
@click.option("--most", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows of each table.")
@form_options
def summary(asked: Asked, most: int, form: str) -> None:
    """Sum up the audit log: what is odd, hosts, credentials by host, models with their cost, uploads, sandboxes.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from proxy.insight.overview import overview
    from proxy.insight.review import last_mark
    from proxy.insight.summary import summary

    wanted, mark = asked.wanted(), last_mark(asked.folder())
    with reading_log(asked.names(), asked.folder()) as logs:
        answer = summary(overview(logs, wanted, mark.until if mark else None), most)
        facts = logs.facts()
    give(answer, form, facts)
