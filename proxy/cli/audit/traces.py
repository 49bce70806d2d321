"""`outgate audit traces`: exchanges as spans, sent to a collector of OpenTelemetry."""

from pathlib import Path

import click

from proxy import terminal
from proxy.cli.audit.options import log_of, log_options, state_of


@click.command()
@log_options
@click.option("--follow", "-f", is_flag=True, help="Send what ends from now on, until Ctrl-C, and not what is there.")
@click.option("--endpoint", metavar="URL", help="The collector's, as http://127.0.0.1:4318/v1/traces.")
def traces(log: tuple[str, ...], state: str | None, config: Path | None, follow: bool, endpoint: str | None) -> None:
    """Send exchanges to a collector of OpenTelemetry: OTLP over HTTP, a span for each and one for its part upstream.

    LOG is files or folders, compressed or not; without any, it is all that the state folder has. The variables
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and so on count; --endpoint beats them.
    """
    from proxy.cli.logs import open_log, tell_skipped
    from proxy.errors import ConfigError
    from proxy.insight import sending
    from proxy.insight.follow import Tail
    from proxy.logs import configure
    from proxy.review.seen import read_record

    if follow and log:
        raise click.UsageError("What ends from now on is in the state folder: name it with --state, and no LOG.")
    send = sending.sender(endpoint)
    if not follow:
        source = open_log(log_of(log, state, config))
        sent = sending.send_all(send, source.each(read_record))
        tell_skipped(source)
        terminal.say(f"sent {sent} events")
        return
    folder = state_of(state, config) / "audit"
    if not folder.is_dir():
        raise ConfigError("there is no audit log", "name its state folder with --state", str(folder.parent))
    tail = Tail([folder])
    tail.last(0, bool)
    configure()
    terminal.note("spans are sent for what ends from now on")
    sending.follow(send, tail)
