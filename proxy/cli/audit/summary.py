"""`outgate audit summary`: what happened, on one screen or two."""

from pathlib import Path

import click

from proxy.cli.audit.answers import give
from proxy.cli.audit.options import (
    filter_options,
    form_options,
    log_of,
    log_options,
    reading_log,
    state_of,
    wanted_of,
)


@click.command()
@log_options
@filter_options
@click.option("--most", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows of each table.")
@form_options
def summary(  # noqa: PLR0913, PLR0917  one parameter for each option
    log: tuple[str, ...],
    state: str | None,
    config: Path | None,
    since: str | None,
    sandbox: tuple[str, ...],
    policy: tuple[str, ...],
    most: int,
    form: str,
) -> None:
    """Sum up the audit log: what is odd, hosts, credentials by host, models with their cost, uploads, sandboxes.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from proxy.insight.overview import overview
    from proxy.insight.review import last_mark
    from proxy.insight.summary import summary

    wanted, mark = wanted_of(since, sandbox, policy), last_mark(state_of(state, config))
    with reading_log(log_of(log, state, config)) as logs:
        answer = summary(overview(logs, wanted, mark.until if mark else None), most)
        facts = logs.facts()
    give(answer, form, facts)
