"""`outgate audit report`: the review as a page."""

from datetime import UTC, datetime
from pathlib import Path

import click

from proxy import terminal
from proxy.cli.audit.options import filter_options, log_of, log_options, reading_log, state_of, wanted_of


@click.command()
@click.option(
    "--html", "output", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Write the page to FILE."
)
@log_options
@filter_options
def report(  # noqa: PLR0913, PLR0917  one parameter for each option
    output: Path,
    log: tuple[str, ...],
    state: str | None,
    config: Path | None,
    since: str | None,
    sandbox: tuple[str, ...],
    policy: tuple[str, ...],
) -> None:
    """Write the review of the audit log as one HTML page that needs nothing else: no script, no request.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from dataclasses import replace

    from proxy.cli.logs import utc_today
    from proxy.errors import ConfigError
    from proxy.insight.denied import denied
    from proxy.insight.new import new
    from proxy.insight.overview import overview
    from proxy.insight.page import page
    from proxy.insight.review import last_mark
    from proxy.state import PRIVATE, why, write_atomic

    wanted, mark = wanted_of(since, sandbox, policy), last_mark(state_of(state, config))
    with reading_log(log_of(log, state, config)) as logs:
        seen = overview(logs, wanted, mark.until if mark else None)
        refused = denied(logs, wanted, utc_today())
        fresh = new(logs, replace(wanted, since=None), seen.recent)
        text = page(seen, fresh, refused, logs.notes(), datetime.now(UTC))
    try:
        write_atomic(output, text.encode("utf-8", "backslashreplace"), PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"cannot write the page: {why(error)}", "choose another one with --html", str(output)
        ) from None
    terminal.note(f"{output}: {len(text) // 1000} kB")
