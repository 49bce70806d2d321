"""The refusal of what never became a request: bytes that are no HTTP, a head that cannot be read. For every engine."""

from proxy.gate import Gate
from proxy.policy.reason import Reason
from proxy.refusal import refuse
from proxy.session import Session


def refuse_early(gate: Gate, session: Session, reason: Reason, detail: str) -> bytes:
    """Record it, and return its refusal as HTTP/1 bytes. The connection ends with it."""
    exchange, session.connecting = session.connecting, None
    if exchange is None:
        exchange = session.new_exchange()
        if session.target is not None:
            exchange.host, exchange.port = session.target.host, session.target.port
    exchange.refuse(reason, detail)
    gate.note_refusal(exchange)
    response = refuse(exchange)
    exchange.status = response.status
    gate.finish(session, exchange, "refused")
    return response.to_bytes(close=True)
