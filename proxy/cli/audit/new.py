"""`outgate audit new`: what was never seen before the last review."""

from datetime import UTC, datetime
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
@click.option("--since-review", is_flag=True, help="Since the last `outgate audit mark-reviewed`.  [default]")
@filter_options
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Rows of each table.")
@form_options
def new(  # noqa: PLR0913, PLR0917  one parameter for each option
    log: tuple[str, ...],
    state: str | None,
    config: Path | None,
    since_review: bool,
    since: str | None,
    sandbox: tuple[str, ...],
    policy: tuple[str, ...],
    most: int,
    form: str,
) -> None:
    """Show hosts, methods, shapes of paths and credentials that were never seen before the last review.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has. With --since, it is
    what was never seen before that time.
    """
    from dataclasses import replace

    from proxy.errors import ConfigError
    from proxy.insight.new import new
    from proxy.insight.review import last_mark

    if since_review and since is not None:
        raise ConfigError("--since-review and --since are two answers to one question", "give one of them")
    wanted, folder = wanted_of(since, sandbox, policy), state_of(state, config)
    mark = last_mark(folder) if since is None else None
    start = wanted.since or (mark.until if mark else None)
    with reading_log(log_of(log, state, config)) as logs:
        answer = new(logs, replace(wanted, since=None), start, most)
        facts = logs.facts()
    if start is None:
        answer.lines.append("nobody has marked the log as reviewed, so all of it is new")
    until = answer.facts["until"]
    if until is not None:
        until = min(until, datetime.now(UTC).replace(tzinfo=None))  # clocks have been wrong
        answer.last = (
            f"when you have read it: outgate audit mark-reviewed --until {until.isoformat(timespec='milliseconds')}"
        )
    give(answer, form, facts)
