"""`outgate audit denied`: what was refused, and what would help."""

from pathlib import Path

import click

from proxy.cli.audit.answers import give
from proxy.cli.audit.options import filter_options, form_options, log_of, log_options, reading_log, wanted_of


@click.command()
@log_options
@filter_options
@click.option("--most", type=click.IntRange(1, 1000), default=20, show_default=True, help="Groups to show.")
@form_options
def denied(  # noqa: PLR0913, PLR0917  one parameter for each option
    log: tuple[str, ...],
    state: str | None,
    config: Path | None,
    since: str | None,
    sandbox: tuple[str, ...],
    policy: tuple[str, ...],
    most: int,
    form: str,
) -> None:
    """Show what was refused, in groups, with the rule that would allow it or what else would help.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from proxy.cli.logs import utc_today
    from proxy.insight.denied import denied

    wanted = wanted_of(since, sandbox, policy)
    with reading_log(log_of(log, state, config)) as logs:
        answer = denied(logs, wanted, utc_today(), most)
        facts = logs.facts()
    give(answer, form, facts)
