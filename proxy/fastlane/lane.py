"""What every connection of the fast lane in one worker shares, and how many clients there may be."""

import asyncio
import math
import ssl
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import structlog

from proxy import limits
from proxy.dial import Dialer
from proxy.fastlane.pool import Pool, Tickets
from proxy.fastlane.tls import LeafContexts
from proxy.gate import Gate
from proxy.session import Bound, Session
from proxy.turns import Share

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide

_TELL = 1.0  # seconds between two words to the operator about clients for which there was no room

log = structlog.get_logger("engine")


class HandOver(Protocol):
    """How a client goes to the other lane. `writable` says whether its transport takes more."""

    def __call__(self, transport: asyncio.Transport, session: Session, data: bytes, *, writable: bool) -> None: ...


@dataclass(kw_only=True)
class Lane:
    """`hand_over` takes a client on whose CONNECT was judged and answered, with the bytes that it sent since; it calls
    `left` when that client is gone. `others` counts the clients that have been handed over. `tell` is told how many
    clients there are, whenever that changes.
    """

    gate: Gate
    dialer: Dialer
    leaf_contexts: LeafContexts
    upstream_context: ssl.SSLContext
    hand_over: HandOver
    others: Callable[[], int]
    tell: Callable[[int], None]
    pool: Pool = field(default_factory=Pool)
    tickets: Tickets = field(default_factory=Tickets)
    clients: "set[ClientSide]" = field(default_factory=set)
    _turned_away: int = 0  # since the operator was told
    _told: float = -math.inf
    _counts: Counter[Bound] = field(default_factory=Counter)
    _shares: "WeakValueDictionary[Hashable, Share]" = field(default_factory=WeakValueDictionary)

    def share(self, asker: Hashable) -> Share:
        """The time of those connections that are for the same sandbox."""
        share = self._shares.get(asker)
        if share is None:
            share = self._shares[asker] = Share()
        return share

    def count(self) -> int:
        """How many clients there are, in both lanes."""
        return len(self.clients) + self.others()

    def enter(self, bound: Bound | None) -> bool:
        """Count one more client, of the sandbox whose socket it came in on; whether there is room for it."""
        count = self.count()
        if count >= limits.MAX_CLIENTS:
            self._turn_away(None)
            return False
        if bound is not None:
            if self._counts[bound] >= limits.MAX_SANDBOX_CLIENTS:
                self._turn_away(bound.sandbox)
                return False
            self._counts[bound] += 1
        self.tell(count + 1)
        return True

    def _turn_away(self, sandbox: str | None) -> None:
        """Tell the operator, once in a second: a client can come again as fast as it likes. `sandbox` has too many
        clients, or, if it is None, all together.
        """
        self._turned_away += 1
        now = time.monotonic()
        if now - self._told >= _TELL:
            log.warning("too many clients", times=self._turned_away, sandbox=sandbox, clients=self.count())
            self._turned_away, self._told = 0, now

    def left(self, bound: Bound | None) -> None:
        """A client that had entered is gone."""
        if bound is not None:
            self._counts[bound] -= 1
            if not self._counts[bound]:
                del self._counts[bound]
        self.tell(self.count())
