"""Who answers at outgate.internal: one desk for each worker. It reads the record, writes requests for access, and
dials nothing.
"""

import math
import time
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import structlog

from proxy import limits
from proxy.audit import access
from proxy.audit.event import Event
from proxy.audit.recall import Recalled, recall
from proxy.exchange import Exchange
from proxy.head import Head
from proxy.internal import pages
from proxy.internal.page import Page, prefers_text, problem, response_of
from proxy.internal.recent import Recent
from proxy.internal.request import BadRequest, read_request
from proxy.quantity import counted
from proxy.refusal import Response
from proxy.review.seen import NotAnEvent, Seen, seen_of

log = structlog.get_logger("internal")

_ACCESS = "/access"
_READ_ONLY = ("/", "/policy", "/refusals", "/limits")


@dataclass(slots=True)
class _Visits:
    since: float = -math.inf
    times: int = 0


class Desk:
    """The desk of worker `number`, whose record is in `folder`."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._visits: Recent[tuple[str, str], _Visits] = Recent(limits.MAX_COUNTED, _Visits)

    @staticmethod
    def takes_body(exchange: Exchange) -> bool:
        """Whether the answer depends on the request's body."""
        return exchange.method == "POST" and exchange.path == _ACCESS

    def answer(self, exchange: Exchange, head: Head, body: bytes, today: date) -> Response:
        """Answer a request of an identified sandbox. `body` may be cut one byte behind `limits.MAX_ACCESS`.

        Raises `AuditUnavailable` where a request for access cannot be written down.
        """
        page = self._too_often(exchange) or self._page(exchange, body, today)
        return response_of(page, text=prefers_text(head.values(b"accept")), head=exchange.method == "HEAD")

    def _page(self, exchange: Exchange, body: bytes, today: date) -> Page:
        path, method = exchange.path, exchange.method
        if path != _ACCESS and path not in _READ_ONLY:
            hint = f"the pages are {', '.join((*_READ_ONLY, _ACCESS))}"
            return problem(exchange, 404, "there is no such page", hint)
        if self.takes_body(exchange):
            return self._ask(exchange, body)
        if method not in ("GET", "HEAD"):
            allowed = "GET, HEAD, POST" if path == _ACCESS else "GET, HEAD"
            headers = ((b"allow", allowed.encode()),)
            detail = "the page does not know the method"
            return problem(exchange, 405, detail, f"use {allowed}", headers)
        return Page(content=self._content(exchange, path, today))

    def _content(self, exchange: Exchange, path: str, today: date) -> dict[str, object]:
        match path:
            case "/policy":
                return pages.policy_page(exchange.policy, today)
            case "/refusals":
                found = self._recall(exchange, "worker", verdict="deny")
                return pages.refusals_page(_read(found.events), exchange.policy, whole=found.whole)
            case "/limits":
                return pages.limits_page(self._left(self._asked(exchange)))
            case "/access":
                return pages.how_to_ask(self._left(self._asked(exchange)))
        return pages.home(exchange)

    # --- requests for access ---

    def _ask(self, exchange: Exchange, body: bytes) -> Page:
        if len(body) > limits.MAX_ACCESS:
            hint = f"send at most {limits.MAX_ACCESS} bytes; a sentence of why is enough"
            return problem(exchange, 413, "the request for access is too large", hint)
        try:
            asked = read_request(body)
        except BadRequest as error:
            return problem(exchange, 400, str(error), f"send {pages.EXAMPLE}")
        before = self._asked(exchange)
        left = self._left(before)
        if not left:
            oldest = datetime.fromisoformat(str(before[limits.ACCESS_REQUESTS - 1]["time"]))
            wait = limits.RECALL_TIME - (datetime.now(UTC) - oldest).total_seconds()
            return _come_back(exchange, wait, "asked for access")
        access.append_access(self._folder, self._number, access.access_record(exchange, asdict(asked)))
        exchange.detail = f"{exchange.detail}: access to {asked.host} asked for: {asked.why}"
        log.warning(
            "a sandbox asks for access; only you can give it", sandbox=exchange.sandbox, policy=exchange.policy.name,
            id=exchange.id, **asdict(asked),
        )  # fmt: skip
        return Page(status=202, content=pages.asked(exchange, left - 1))

    def _asked(self, exchange: Exchange) -> tuple[Event, ...]:
        """The requests of this sandbox that count, of whatever worker, the newest first."""
        return self._recall(exchange, access.KIND, type=access.TYPE).events

    @staticmethod
    def _left(asked: tuple[Event, ...]) -> int:
        return max(0, limits.ACCESS_REQUESTS - len(asked))

    # --- bounds ---

    def _recall(self, exchange: Exchange, kind: str, **known: str) -> Recalled:
        since = datetime.now(UTC) - timedelta(seconds=limits.RECALL_TIME)
        return recall(self._folder, kind, exchange.sandbox, exchange.policy.name, since, **known)

    def _too_often(self, exchange: Exchange) -> Page | None:
        """Count a visit; what to say if it is one too many."""
        now, visits = time.monotonic(), self._visits[exchange.sandbox, exchange.policy.name]
        if now - visits.since >= limits.VISITS_TIME:
            visits.since, visits.times = now, 0
        visits.times += 1
        if visits.times <= limits.VISITS:
            return None
        return _come_back(exchange, visits.since + limits.VISITS_TIME - now, "asked here")


def _come_back(exchange: Exchange, seconds: float, what: str) -> Page:
    wait = max(1, math.ceil(seconds))
    detail = f"this sandbox has {what} too often"
    headers = ((b"retry-after", str(wait).encode()),)
    return problem(exchange, 429, detail, f"wait {counted(wait, 'second')}; it is all on record", headers)


def _read(events: tuple[Event, ...]) -> list[Seen]:
    found = []
    for event in events:
        try:
            found.append(seen_of(event))
        except NotAnEvent:
            continue
    return [each for each in found if not each.internal]
