"""`outgate audit mark-reviewed`: from here on, only what comes is new."""

from datetime import UTC, datetime
from pathlib import Path

import click

from proxy import terminal
from proxy.cli.audit.options import state_of, time_of
from proxy.cli.serve import config_option, state_option


@click.command("mark-reviewed")
@state_option
@click.option("--until", metavar="TIME", help="What was on record until then is known.  [default: now]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def mark_reviewed(state: str | None, until: str | None, as_json: bool, config: Path | None) -> None:
    """Note that the audit log was reviewed. `outgate audit new` shows what is on record since.

    `outgate audit new` prints the time to give, so that what came while you read is not lost.
    """
    from proxy.errors import ConfigError
    from proxy.insight.review import put_mark
    from proxy.insight.table import plain
    from proxy.state import open_state

    now = datetime.now(UTC).replace(tzinfo=None)
    time = now if until is None else time_of(until)
    if time > now:
        raise ConfigError("nobody can have reviewed what is to come", "give a time that is past, in UTC")
    mark = put_mark(open_state(state_of(state, config), create=False).root, time)
    if as_json:
        terminal.as_json({"until": plain(mark.until), "time": plain(mark.time)})
    else:
        terminal.say(f"reviewed until {mark.until:%Y-%m-%d %H:%M:%S} UTC")
