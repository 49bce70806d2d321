"""The gate: the checkpoints that every exchange passes, in order. Each can only refuse.

CONNECT target, TLS hello, request head, response head. Engines hand in bytes and do what the
exchange then says; the decision itself is `policy.decide`, and the secret's only way out is `proxy.outbound`.
"""

import math
import time
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import structlog

from proxy import limits
from proxy.audit.sink import AuditSink, AuditUnavailable
from proxy.credentials.placeholder import placeholder
from proxy.credentials.scrub import Mask
from proxy.dial import Grant
from proxy.exchange import Exchange
from proxy.head import BadHead, Head, Headers, forwarded, is_websocket, read_connect, read_destination, read_head
from proxy.identity import ANONYMOUS, BadToken
from proxy.internal.desk import Desk
from proxy.internal.repeats import Repeats
from proxy.metrics.counters import Counters
from proxy.outbound import Outbound, check_credentials, upstream_head
from proxy.policy.decide import ConnectDecision, Decision, decide, decide_both, decide_connect
from proxy.policy.host import INTERNAL, Authority, MalformedHost, parse_authority, parse_host
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy
from proxy.refusal import Response
from proxy.serving import Serving
from proxy.session import Sandbox, Session

log = structlog.get_logger("gate")

_NOT_SERVED = "the policy of this sandbox is not served here"
# What is asked of Outgate itself: no policy decides about it, and nothing may be dialled for it.
_HERE = Decision(allowed=True, reason=Reason.ALLOWED)


def today() -> date:
    """The day that `expires` is compared with: UTC."""
    return datetime.now(UTC).date()


@dataclass(kw_only=True)
class Gate:
    """The checkpoints, with what they need.

    `serving` is replaced as a whole when policies change; what is asked from then on is judged by the new one.

    `authenticate` turns Proxy-Authorization values into a sandbox, its policy and the end of its time
    (seconds since the epoch), or raises `BadToken`.
    """

    serving: Serving
    placeholder_key: bytes
    audit: AuditSink
    authenticate: Callable[[Sequence[bytes]], tuple[str, str, float]]
    tokens_required: bool
    desk: Desk = field(init=False)
    repeats: Repeats = field(init=False, default_factory=Repeats)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.desk = Desk(self.audit.folder, self.audit.number)

    # --- CONNECT ---

    def connect(self, session: Session, head: Head) -> Exchange:
        """Judge a CONNECT: refused, allowed as a tunnel, or allowed for an interception and then forgotten."""
        exchange = session.new_exchange()
        session.head_since = None
        exchange.method = "CONNECT"
        exchange.user_agent = _user_agent(head)
        try:
            self._judge_connect(session, exchange, head)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - it is logged there
            _fail(session, exchange, error)
        return exchange

    def _judge_connect(self, session: Session, exchange: Exchange, head: Head) -> None:
        if session.target is not None:
            self.intercepted(session)
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, "a CONNECT inside a tunnel")
            return
        try:
            if session.barred is not None:
                raise BadHead(*session.barred)
            target = read_connect(head)
            exchange.host, exchange.port = target.host, target.port
            sandbox = self._identify(session, exchange, head)
        except BadHead as error:
            exchange.refuse(error.reason, str(error))
            return
        if sandbox is None:
            return
        internal = target.host.name == INTERNAL
        session.connect = (
            ConnectDecision(_HERE) if internal else decide_connect(sandbox.policy, target.host, target.port, today())
        )
        exchange.decision = session.connect.decision
        if not exchange.allowed:
            return
        session.target = target
        if session.connect.tunnel:
            self._allow(session, exchange, target)
        else:
            # Denied until a request comes out of it; then that one has an event of its own.
            session.connecting = exchange
            session.head_since = time.monotonic()

    def server_name(self, session: Session, name: str | None, *, present: bool, encrypted: bool) -> None:
        """Judge a TLS hello: `name` is its server name, `present` whether the extension was there at all."""
        target = session.target
        if target is None:
            session.bar(Reason.PROTOCOL_NOT_ALLOWED, "TLS without CONNECT")
        elif name is None:
            if present:
                session.bar(Reason.AUTHORITY_MISMATCH, "the TLS server name cannot be read")
        elif not _same_host(name, target):
            session.bar(Reason.AUTHORITY_MISMATCH, "the TLS server name is not the host of the connection")
        if encrypted and session.connect.tunnel:
            session.bar(Reason.PROTOCOL_NOT_ALLOWED, "an encrypted client hello hides the server name from the tunnel")

    # --- requests ---

    def request(self, session: Session, head: Head, *, tls: bool) -> Outbound | Exchange:
        """Judge a request head. Returns the request that may be forwarded, or the exchange that goes nowhere: it is
        refused, or `internal` and to be answered here.
        """
        self.intercepted(session)
        self._renew(session)
        exchange = session.new_exchange()
        session.head_since = None
        try:
            return self._judge_request(session, exchange, head, tls=tls)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - it is logged there
            _fail(session, exchange, error)
            return exchange
        finally:
            self.counters.decided(time.monotonic() - exchange.started)

    def _judge_request(self, session: Session, exchange: Exchange, head: Head, *, tls: bool) -> Outbound | Exchange:
        _describe(exchange, session, head, tls=tls)
        try:
            if session.barred is not None:
                raise BadHead(*session.barred)
            request = read_head(head, tunnel=session.target, tls=tls)
            exchange.host, exchange.port, exchange.query_keys = request.host, request.port, request.query_keys
            sandbox = session.sandbox if session.target is not None else self._identify(session, exchange, head)
        except BadHead as error:
            exchange.refuse(error.reason, str(error))
            return exchange
        if sandbox is None:
            return exchange
        if self.outlived(session):
            exchange.refuse(Reason.UNAUTHENTICATED, "the token has expired")
            return exchange
        if request.host.name == INTERNAL:
            exchange.internal, exchange.decision, exchange.detail = True, _HERE, "answered by outgate"
            self._begin(exchange)
            return exchange
        _decide(exchange, sandbox.policy, head, request)
        form = check_credentials(exchange, sandbox, request, head.headers) if exchange.allowed else None
        if exchange.websocket:
            exchange.request = request
        if exchange.allowed:
            self._allow(session, exchange, Authority(request.host, request.port))
        if not exchange.allowed:
            return exchange
        headers = forwarded(
            head.headers,
            Authority(request.host, request.port),
            request.scheme,
            websocket=exchange.websocket,
            trace_context=exchange.decision.trace_context,
        )
        return Outbound(exchange, request, headers, sandbox.secrets, form)

    def upstream_head(self, outbound: Outbound) -> tuple[Headers, str, Mask | None]:
        """What goes on the wire, and the mask for the answer. Raises `CredentialUnavailable`; see `proxy.outbound`."""
        return upstream_head(outbound, lambda: self.serving.masks)

    # --- answers of our own ---

    def answer(self, session: Session, exchange: Exchange, head: Head, body: bytes) -> Response | None:
        """The answer to an `internal` exchange; None if it has become a refusal."""
        try:
            return self.desk.answer(exchange, head, body, today())
        except AuditUnavailable as error:
            exchange.refuse(Reason.AUDIT_UNAVAILABLE, str(error))
        except (Exception, CancelledError) as error:  # noqa: BLE001 - it is logged there
            _fail(session, exchange, error)
        return None

    def note_refusal(self, exchange: Exchange) -> None:
        """Count a refusal before it is put into words: they depend on how often it came."""
        self.repeats.note(exchange, time.monotonic())

    # --- endings ---

    def finish(self, session: Session, exchange: Exchange, end: str) -> None:
        """Record an exchange, once; later endings of the same exchange change nothing."""
        if exchange is session.challenged or session.open.pop(exchange.id, None) is None:
            return
        exchange.end = exchange.end or end
        self.audit.finish(exchange)
        self.counters.ended(exchange)

    def intercepted(self, session: Session) -> None:
        """The tunnel of a CONNECT is really intercepted: from here on the requests in it are the exchanges."""
        if session.connecting is not None:
            session.open.pop(session.connecting.id, None)
            session.connecting = None

    def greeted(self, session: Session) -> None:
        """The TLS handshake with the client is done: there is nothing that it has begun and must end."""
        session.head_since = None

    def outlived(self, session: Session) -> bool:
        """Whether the token of a connection has expired since it was shown: then nothing more passes on it."""
        return session.sandbox is not None and time.time() >= session.sandbox.expires

    def note_long(self, session: Session, now: float) -> None:
        """Record exchanges that run for long under the id of their last event. `now` is `time.monotonic()`."""
        for exchange in session.open.values():
            if exchange.allowed and not exchange.tunnel and not exchange.noted:
                if exchange is not session.connecting and now - exchange.started > limits.LONG_TIME:
                    exchange.noted = True
                    self.audit.open_event(exchange)

    def cut_outgrown(self, session: Session) -> bool:
        """Record the end of what stays open, asks nothing more, and would not be opened again: tunnels and WebSockets.

        Returns whether there was any; then the connection must be cut.
        """
        outgrown = [
            exchange
            for exchange in session.open.values()
            if exchange.allowed and (exchange.tunnel or exchange.websocket) and not self._still_holds(session, exchange)
        ]
        for exchange in outgrown:
            exchange.detail = "cut, because the policy changed"
            self.finish(session, exchange, "aborted")
        return bool(outgrown)

    def close(self, session: Session) -> None:
        """The client is gone: record everything that is still open."""
        session.challenged = None
        connecting = session.connecting
        if connecting is not None and connecting.allowed:
            if session.barred is not None:
                connecting.refuse(*session.barred)
            elif session.head_since is not None:
                connecting.refuse(Reason.PROTOCOL_NOT_ALLOWED, "the client left before a request")
            else:
                connecting.detail = "nothing was asked"
        for exchange in list(session.open.values()):
            self.finish(session, exchange, "client_closed" if exchange.allowed else "refused")

    # --- parts ---

    def _identify(self, session: Session, exchange: Exchange, head: Head) -> Sandbox | None:
        """Find out whose request this is, or refuse it as unauthenticated."""
        values = head.values(b"proxy-authorization")
        challenged, session.challenged = session.challenged, None
        if challenged is not None:
            # The same again with a token, as git does after a 407: the first try was a question, not an attempt.
            again = (challenged.host, challenged.port, challenged.method) == (
                exchange.host,
                exchange.port,
                exchange.method,
            )
            if values and again:
                session.open.pop(challenged.id, None)
            else:
                self.finish(session, challenged, "refused")
        if session.bound is not None:
            # The socket says who it is; what the client says of itself changes nothing.
            name, named, expires = session.bound.sandbox, session.bound.policy, math.inf
        elif not values and not self.tokens_required:
            name, named, expires = ANONYMOUS, None, math.inf
        else:
            try:
                name, named, expires = self.authenticate(values)
            except BadToken as error:
                exchange.refuse(Reason.UNAUTHENTICATED, str(error))
                if not values:
                    session.challenged = exchange
                return None
        session.sandbox = self._sandbox(name, named, expires)
        if session.sandbox is None:
            exchange.refuse(Reason.UNAUTHENTICATED, _NOT_SERVED)
            return None
        exchange.sandbox, exchange.policy = name, session.sandbox.policy
        return session.sandbox

    def _sandbox(self, name: str, named: str | None, expires: float) -> Sandbox | None:
        """The sandbox under what is served now; None if its policy is not."""
        serving = self.serving
        policy = next(iter(serving.policies.values())) if named is None else serving.policies.get(named)
        if policy is None:
            return None
        return Sandbox(name, policy, serving, self._placeholders(name, policy), named, expires)

    def _renew(self, session: Session) -> None:
        """Bring a connection that was opened under an earlier policy under the one that is served now."""
        known = session.sandbox
        if known is None or known.serving is self.serving:
            return
        session.sandbox = self._sandbox(known.name, known.named, known.expires)
        if session.sandbox is None and session.target is not None:
            session.bar(Reason.UNAUTHENTICATED, _NOT_SERVED)

    def _still_holds(self, session: Session, exchange: Exchange) -> bool:
        """Whether the policy of now opens this as well, to the same addresses and with the same credential."""
        self._renew(session)
        sandbox, old = session.sandbox, exchange.policy
        if sandbox is None:
            return False
        policy = sandbox.policy
        if exchange.tunnel:
            if session.target is None:
                return False
            connect = decide_connect(policy, session.target.host, session.target.port, today())
            decision = connect.decision if connect.tunnel else Decision()
        else:
            decision = Decision() if exchange.request is None else decide(policy, exchange.request, today())
        name = decision.credential
        return (
            decision.allowed
            and (decision.networks, policy.denied_networks) == (exchange.decision.networks, old.denied_networks)
            and name == exchange.decision.credential
            and (name is None or policy.credentials[name] == old.credentials[name])
        )

    def _placeholders(self, sandbox: str, policy: Policy) -> dict[str, str]:
        return {
            name: placeholder(self.placeholder_key, sandbox, policy.name, spec)
            for name, spec in policy.credentials.items()
        }

    def _allow(self, session: Session, exchange: Exchange, destination: Authority) -> None:
        """Record that an exchange starts, and give leave to dial: nothing unrecorded is forwarded."""
        exchange.tunnel = session.connect.tunnel
        if not self._begin(exchange):
            return
        session.grants[destination.host.name, destination.port] = Grant(
            destination.host, destination.port, exchange.decision.networks, exchange.policy.denied_networks
        )

    def _begin(self, exchange: Exchange) -> bool:
        """Record that an exchange starts; refuse it where that cannot be."""
        try:
            self.audit.begin(exchange)
        except AuditUnavailable as error:
            exchange.refuse(Reason.AUDIT_UNAVAILABLE, str(error))
        return exchange.allowed


def _fail(session: Session, exchange: Exchange, error: BaseException) -> None:
    """Refuse an exchange whose judging broke off, and all that follows it. It stays the one exchange of its head."""
    log.exception("the gate failed", error=type(error).__name__)
    session.bar(Reason.POLICY_ERROR, "an internal error")
    exchange.refuse(Reason.POLICY_ERROR, "an internal error")


def _decide(exchange: Exchange, policy: Policy, head: Head, request: Request) -> None:
    """Put the decision into the exchange. Where the request writes to a second place, it is one on both."""
    exchange.decision = decide(policy, request, today())
    if exchange.decision.reason is Reason.METHOD_NOT_ALLOWED and (named := request.methods - {request.method}):
        exchange.detail = f"its query names the method {min(named)[:32]}"
    elif exchange.decision.reason is Reason.MALFORMED_REQUEST:
        exchange.detail = "its query names a method in a way that servers read differently"
    try:
        destination = read_destination(head, request)
    except BadHead as error:
        exchange.refuse(error.reason, str(error))
        return
    if destination is not None and exchange.allowed:
        exchange.decision = decide_both(policy, request, destination, today())
        if not exchange.allowed:
            exchange.detail = "the place that Destination names"


def _same_host(name: str, target: Authority) -> bool:
    try:
        return parse_host(name) == target.host
    except MalformedHost:
        return False


def _describe(exchange: Exchange, session: Session, head: Head, *, tls: bool) -> None:
    """Note what can be said of a head before it is judged: a refusal and the audit log say what was asked."""
    exchange.method = head.method.decode("latin-1")
    exchange.path = head.target.partition(b"?")[0].decode("latin-1")
    exchange.scheme = "https" if tls else "http"
    exchange.user_agent = _user_agent(head)
    exchange.websocket = is_websocket(head)
    exchange.grpc = any(value.lower().startswith(b"application/grpc") for value in head.values(b"content-type"))
    if session.target is not None:
        exchange.host, exchange.port = session.target.host, session.target.port
    elif head.authority:
        try:
            authority = parse_authority(head.authority.decode("latin-1"), 80)
        except MalformedHost:
            return
        exchange.host, exchange.port = authority.host, authority.port


def _user_agent(head: Head) -> str:
    return next((value.decode("latin-1") for value in head.values(b"user-agent")), "")[:200]
