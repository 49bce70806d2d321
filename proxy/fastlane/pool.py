"""What one connection to an upstream leaves for the next: itself, or its TLS session. For the same sandbox and end."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from proxy import limits
from proxy.fastlane.tls import Ticket
from proxy.fastlane.upstream import Upstream


class Use(NamedTuple):
    """What a connection may be used again for. `owner` is whose it is; one of one sandbox never serves another."""

    owner: Hashable
    policy: str  # its digest
    credential: str | None
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Kept:
    use: Use
    upstream: Upstream
    since: float


class Pool:
    """Idle connections by owner, the one used last at the end. Few for each, so that a look through them is short."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, list[_Kept]] = {}
        self._count = 0

    def take(self, use: Use, longest: float) -> Upstream | None:
        """An open connection for this use that has been idle for at most `longest` seconds."""
        mine = self._kept.get(use.owner, [])
        for at in range(len(mine) - 1, -1, -1):
            if mine[at].use == use and time.monotonic() - mine[at].since < longest:
                upstream = mine.pop(at).upstream
                self._count -= 1
                if not upstream.closed and upstream.is_silent():
                    return upstream
                upstream.abort()
        return None

    def put(self, use: Use, upstream: Upstream) -> None:
        """Keep a connection on which a whole answer ended; the owner's oldest one gives way to it."""
        upstream.user = None
        if upstream.closed or self._count >= limits.MAX_KEPT_UPSTREAMS:
            upstream.close()
            return
        upstream.resume()
        mine = self._kept.setdefault(use.owner, [])
        mine.append(_Kept(use, upstream, time.monotonic()))
        self._count += 1
        if len(mine) > limits.MAX_IDLE_UPSTREAMS:
            self._count -= 1
            mine.pop(0).upstream.close()

    def sweep(self, now: float) -> None:
        """Close what has waited too long, and forget what has closed by itself. `now` is `time.monotonic()`."""
        for owner, mine in list(self._kept.items()):
            fresh = [kept for kept in mine if self._is_fresh(kept, now)]
            for kept in mine:
                if kept not in fresh:
                    kept.upstream.close()
            self._count -= len(mine) - len(fresh)
            if fresh:
                self._kept[owner] = fresh
            else:
                del self._kept[owner]

    def close(self) -> None:
        for mine in self._kept.values():
            for kept in mine:
                kept.upstream.abort()
        self._kept.clear()
        self._count = 0

    @staticmethod
    def _is_fresh(kept: _Kept, now: float) -> bool:
        return not kept.upstream.closed and now - kept.since < limits.KEPT_TIME


class Tickets:
    """TLS sessions that upstreams gave, each to be resumed once (RFC 8446 section C.4).

    One is of a connection whose certificate was verified for the host of its use; a resumed one is not verified again.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Use, Ticket] = OrderedDict()

    def take(self, use: Use) -> Ticket | None:
        ticket = self._kept.pop(use, None)
        return ticket if ticket is not None and time.monotonic() < ticket.until else None

    def put(self, use: Use, ticket: Ticket | None) -> None:
        if ticket is None:
            return
        self._kept[use] = ticket
        self._kept.move_to_end(use)
        if len(self._kept) > limits.MAX_TICKETS:
            self._kept.popitem(last=False)
