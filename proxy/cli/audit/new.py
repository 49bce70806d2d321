"""`outgate audit new`: what was never seen before the last review."""

from datetime import UTC, datetime

import click

from proxy.cli.audit.answers import give
from proxy.cli.audit.options import Asked, form_options, reading_log, review_options


@click.command()
@click.option("--since-review", is_flag=True, help="Since the last `outgate audit mark-reviewed`.  [default]")
@review_options
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Rows of each table.")
@form_options
def new(asked: Asked, since_review: bool, most: int, form: str) -> None:
    """Show hosts, methods, shapes of paths and credentials that were never seen before the last review.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has. With --since, it is
    what was never seen before that time.
    """
    from dataclasses import replace

    from proxy.errors import ConfigError
    from proxy.insight.new import new
    from proxy.insight.review import last_mark

    if since_review and asked.since is not None:
        raise ConfigError("--since-review and --since are two answers to one question", "give one of them")
    wanted, folder = asked.wanted(), asked.folder()
    mark = last_mark(folder) if asked.since is None else None
    start = wanted.since or (mark.until if mark else None)
    with reading_log(asked.names(), asked.folder()) as logs:
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
