"""`outgate audit denied`: what was refused, and what would help."""

import click

from proxy.cli.audit.answers import give
from proxy.cli.audit.options import Asked, form_options, reading_log, review_options


@click.command()
@review_options
@click.option("--most", type=click.IntRange(1, 1000), default=20, show_default=True, help="Groups to show.")
@form_options
def denied(asked: Asked, most: int, form: str) -> None:
    """Show what was refused, in groups, with the rule that would allow it or what else would help.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from proxy.cli.logs import utc_today
    from proxy.insight.denied import denied

    wanted = asked.wanted()
    with reading_log(asked.names(), asked.folder()) as logs:
        answer = denied(logs, wanted, utc_today(), most)
        facts = logs.facts()
    give(answer, form, facts)
