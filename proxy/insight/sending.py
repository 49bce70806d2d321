"""Spans on their way to a collector of OpenTelemetry. Needs the extra `otel`.

While nobody takes them, what they are made of waits in the log, where it is anyway: there is no queue to bound.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import batched
from typing import Any

import structlog

from proxy.errors import ConfigError
from proxy.insight.follow import TICK, Event, Tail

BATCH = 512  # events of one request to the collector
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between two tries
TRIES = 10  # about five minutes; then a batch is left out, because nobody may ever take it

type Events = list[Event]
type Send = Callable[[Events], bool]

log = structlog.get_logger("traces")


def batches(events: Iterable[Event]) -> Iterator[Events]:
    """Events in as many as one request has."""
    yield from map(list, batched(events, BATCH))


def sender(endpoint: str | None) -> Send:
    """A function that sends the spans of events, and says whether they were taken.

    Without an endpoint OpenTelemetry's own variables say where to. Raises `ConfigError`.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult

        from proxy.audit.export.traces import spans
    except ImportError:
        hint = "pip install 'outgate[otel]'"
        raise ConfigError("opentelemetry is not installed, which sending spans needs", hint) from None
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would print what a collector answers
    exporter = OTLPSpanExporter(endpoint)

    def send(events: Events) -> bool:
        made = [span for event in events for span in spans(event)]
        return not made or exporter.export(made) is SpanExportResult.SUCCESS

    return send


def follow(send: Send, tail: Tail) -> None:
    """Send what comes, without end."""
    left_out = 0
    while True:
        for batch in batches(tail.more()):
            if not _insist(send, batch):
                left_out += len(batch)
                log.error("events have no spans: the collector took none", events=len(batch), left_out=left_out)
        time.sleep(TICK)


def _insist(send: Send, batch: Events) -> bool:
    pause = FIRST_PAUSE
    for number in range(TRIES):
        if send(batch):
            return True
        if not number:
            log.warning("the collector takes no spans; they wait", events=len(batch))
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return False


def send_all(send: Send, events: Iterable[Any]) -> int:
    """Send what there is. Returns how many events that was. Raises `ConfigError` at the first that is not taken."""
    sent = 0
    for batch in batches(events):
        if not send(batch):
            raise ConfigError(f"the collector took {sent} events and no more", "is it there? what does it say?")
        sent += len(batch)
    return sent
