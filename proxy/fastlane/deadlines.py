"""The deadlines of a client of the fast lane: what has them is looked at once a second."""

import structlog

from proxy import limits
from proxy.fastlane.client import ClientSide
from proxy.peer import left
from proxy.policy.reason import Reason

log = structlog.get_logger("engine")


def enforce(client: ClientSide, now: float) -> None:
    """Cut a client that is overdue, or of which that cannot be said. `now` is `time.monotonic()`."""
    try:
        _enforce(client, now)
    except Exception as error:
        log.exception("deadlines could not be enforced", error=type(error).__name__)
        client.failed()


def _enforce(client: ClientSide, now: float) -> None:
    gate, session = client.lane.gate, client.session
    gate.note_long(session, now)
    quiet = now - client.last_active
    if session.open and not client.reading:
        if left(client.transport.get_extra_info("socket"), stalled=quiet > limits.STALLED_TIME):
            client.left()
            return
    if (quiet > limits.QUIET_TIME and session.quiet) or quiet > limits.IDLE_TIME or gate.outlived(session):
        client.cut()
        return
    since = session.head_since
    if since is None or now - since < limits.HEAD_TIME:
        return
    session.head_since = None
    exchange = next(iter(session.open.values()), None) or session.new_exchange()
    exchange.refuse(Reason.LIMIT_EXCEEDED, "the client took too long to send a request")
    gate.finish(session, exchange, "aborted")
    client.left()
