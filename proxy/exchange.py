"""The one typed object per exchange: what was asked, decided, injected and seen.

Any engine fills it in; `audit.event` turns it into the record. It never holds a secret value.
"""

import os
import time
from dataclasses import dataclass, field

from proxy.metering.meter import Meter
from proxy.policy.decide import Decision
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(one + other for one in _CROCKFORD for other in _CROCKFORD)
_SHIFTS = range(120, -10, -10)
_DENIED = Decision()


def new_id() -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits, 26 characters that sort by time (github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request or tunnel, from its first byte to its last. Times are seconds of `time.monotonic`, sizes bytes.

    `boundary` is that of the socket it came in on, None where the sandbox is known by its word or token.
    `started_at` is wall-clock time. `end` says how it ended: `complete`, `refused`, `client_closed`,
    `upstream_closed`, `aborted`, `open` (still running), `crashed`. `sent` says that the request's head went upstream.
    `internal` marks a request for Outgate itself, which is answered here and goes nowhere. `repeated` is how often the
    same was refused lately, 0 below `limits.REPEATED`.
    `request` is kept of a WebSocket alone, which may have to be judged again. `meter` is that of a call of a model.
    """

    sandbox: str
    policy: Policy
    client: str = ""
    boundary: str | None = None
    id: str = field(default_factory=new_id)
    started_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    scheme: str = ""
    host: Host | None = None
    port: int = 0
    method: str = ""
    path: str = ""
    query_keys: tuple[str, ...] = ()
    user_agent: str = ""
    tunnel: bool = False
    websocket: bool = False
    request: Request | None = None
    grpc: bool = False
    internal: bool = False
    repeated: int = 0
    decision: Decision = _DENIED
    detail: str = ""
    credential: str | None = None
    injected: bool = False
    not_injected: str | None = None
    upstream_ip: str | None = None
    tls: str | None = None
    status: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    meter: Meter | None = None
    end: str = ""
    sent: bool = False
    noted: bool = False
    recorded: bool = False

    @property
    def allowed(self) -> bool:
        return self.decision.allowed

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """Turn the exchange into a refusal. A refusal is never turned back; the first reason stays."""
        if self.decision.allowed or self.decision.reason is Reason.POLICY_ERROR:
            rule, nearest = self.decision.rule, self.decision.nearest
            self.decision = Decision(reason=reason, rule=rule, nearest=nearest)
            self.detail = detail
