"""Requests that end here: refused, or asked of Outgate itself. What still comes of them is read and thrown away."""

import time
from typing import TYPE_CHECKING

from proxy import limits
from proxy.early import refuse_early
from proxy.exchange import Exchange
from proxy.fastlane.reader import BadMessage, End
from proxy.head import Head
from proxy.policy.reason import Reason
from proxy.refusal import Response, refuse

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide


class Here:
    """The answers of our own to one client. `busy` says that the body of a request that ends here is still to come."""

    def __init__(self, client: "ClientSide") -> None:
        self._client = client
        self._discarding = False
        self._discarded = 0
        self._gathering: tuple[Exchange, Head, bytearray] | None = None

    @property
    def busy(self) -> bool:
        return self._discarding or self._gathering is not None

    def take(self, exchange: Exchange, head: Head) -> None:
        """Answer what is asked of Outgate itself, from the head alone unless the body counts."""
        client = self._client
        if client.lane.gate.desk.takes_body(exchange) and client.requests.has_body:
            client.session.head_since = time.monotonic()  # the body has the time that a head has
            self._gathering = (exchange, head, bytearray())
            if head.waits_for_continue:
                client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._answer_from(exchange, head, b"")

    def take_body(self) -> bool:
        """Read the body, or throw it away; whether another step may follow at once."""
        client = self._client
        piece = client.requests.next()
        if piece is None:
            if client.has_ended:
                client.left()
            return False
        if self._gathering is not None:
            self._gather(*self._gathering, b"" if isinstance(piece, End | Head) else piece, last=isinstance(piece, End))
        elif isinstance(piece, End):
            self._discarding = False
        elif not isinstance(piece, Head):
            self._discarded += len(piece)
            if self._discarded > limits.MAX_DISCARD:
                client.close()
        return True

    def _gather(self, exchange: Exchange, head: Head, body: bytearray, piece: bytes, *, last: bool) -> None:
        body += piece[: limits.MAX_ACCESS + 1 - len(body)]
        if not last and len(body) <= limits.MAX_ACCESS:
            return
        self._gathering = None
        self._client.session.head_since = None
        self._discarding = not last
        self._answer_from(exchange, head, bytes(body))

    def _answer_from(self, exchange: Exchange, head: Head, body: bytes) -> None:
        client = self._client
        response = client.lane.gate.answer(client.session, exchange, head, body)
        if response is None:
            self.refuse(exchange)
        else:
            last = response.status >= 400 and client.session.refused_too_often()
            self._answer(exchange, response, "complete", last=last)

    def refuse(self, exchange: Exchange) -> None:
        """Answer with the refusal at once."""
        client = self._client
        client.lane.gate.note_refusal(exchange)
        # Where a head ends may be in doubt, and then what follows is its body or another request: read no more.
        last = client.requests.in_doubt or exchange.decision.reason is Reason.MALFORMED_REQUEST
        self._answer(exchange, refuse(exchange), "refused", last=client.session.refused_too_often() or last)

    def _answer(self, exchange: Exchange, response: Response, end: str, *, last: bool) -> None:
        client = self._client
        exchange.status = response.status
        client.conversation = None
        client.keep = client.keep and not last
        client.send(response.to_bytes(close=not client.keep))
        client.lane.gate.finish(client.session, exchange, end)
        self.discard()
        if last:
            client.close()
        else:
            client.advance()

    def discard(self) -> None:
        """Throw away what is still to come of the request at hand."""
        self._discarding, self._discarded = self._discarding or self._client.requests.in_body, 0

    def malformed(self, error: BadMessage) -> None:
        """What the client sent is no request, or no body of one."""
        client = self._client
        if self._gathering is not None:
            exchange = self._gathering[0]
            self._gathering = client.session.head_since = None
            exchange.refuse(Reason.MALFORMED_REQUEST, "the body is malformed")
            self.refuse(exchange)
        elif client.conversation is not None and client.conversation.delivery is None:
            client.conversation.refuse(Reason.MALFORMED_REQUEST, "the body is malformed")
        elif client.conversation is not None or self._discarding:
            # The request is not what it says it is, so its upstream must not take it for whole.
            client.left()
        elif error.too_large:
            self.refuse_early(Reason.LIMIT_EXCEEDED, str(error))
        else:
            self.refuse_early(Reason.MALFORMED_REQUEST, "the request head cannot be parsed")

    def refuse_early(self, reason: Reason, detail: str, *, tell: bool = True) -> None:
        """Refuse what never became a request, and close."""
        client = self._client
        said = refuse_early(client.lane.gate, client.session, reason, detail)
        if tell:
            client.send(said)
        client.close()
