"""`outgate audit report`: the review as a page."""

from datetime import UTC, datetime
from pathlib import Path

import click

from proxy import terminal
from proxy.cli.audit.options import Asked, reading_log, review_options


@click.command()
@click.option(
    "--html", "output", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Write the page to FILE."
)
@review_options
def report(asked: Asked, output: Path) -> None:
    """Write the review of the audit log as one HTML page that needs nothing else: no script, no request.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has.
    """
    from dataclasses import replace

    from proxy.cli.logs import utc_today
    from proxy.insight.denied import denied
    from proxy.insight.new import new
    from proxy.insight.overview import overview
    from proxy.insight.page import page
    from proxy.insight.review import last_mark
    from proxy.state import PRIVATE, write_atomic

    wanted, mark = asked.wanted(), last_mark(asked.folder())
    with reading_log(asked.names(), asked.folder()) as logs:
        seen = overview(logs, wanted, mark.until if mark else None)
        refused = denied(logs, wanted, utc_today())
        fresh = new(logs, replace(wanted, since=None), seen.recent)
        text = page(seen, fresh, refused, logs.notes(), datetime.now(UTC))
    write_atomic(output, text.encode("utf-8", "backslashreplace"), PRIVATE)
    terminal.note(f"{output}: {len(text) // 1000} kB")
