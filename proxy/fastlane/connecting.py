"""A CONNECT in the fast lane, and what may follow it: TLS with us, plain requests, a tunnel.

What this lane does not speak goes to the mitmproxy lane before a byte of it is read: HTTP/2, where a rule wants it.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from proxy.dial import DialError
from proxy.exchange import Exchange
from proxy.fastlane.relay import Relay
from proxy.fastlane.tls import Tls
from proxy.fastlane.upstream import Upstream, dial
from proxy.head import Head
from proxy.hello import BadHello, client_name, hello_complete, judge_hello, read_hello, starts_handshake
from proxy.policy.host import Authority
from proxy.policy.reason import Reason
from proxy.refusal import refuse

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide

log = structlog.get_logger("engine")

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HTTP_START = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Connecting:
    """The CONNECT of one client, and its first bytes after it."""

    def __init__(self, client: "ClientSide") -> None:
        self._client = client
        self._hello = bytearray()
        self._dialling: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a tunnel is being dialled: what the client sends waits."""
        return self._dialling is not None

    def cancel(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()

    def connect(self, head: Head) -> bool:
        """Judge a CONNECT, and answer it or begin to dial; whether another request may follow."""
        client = self._client
        session = client.session
        exchange = client.lane.gate.connect(session, head)
        client.unjudged = False
        client.share = client.lane.share(session.asker)
        if not exchange.allowed or session.target is None:
            self._refuse(exchange)
            return not client.closed
        rest = client.requests.rest()
        if session.connect.tunnel:
            dialling = self._dial(exchange, session.target, rest)
            self._dialling = asyncio.get_running_loop().create_task(dialling, name="tunnel")
            return False
        client.transport.write(_ESTABLISHED)
        if session.connect.http2:
            client.hand_over(rest)
            return False
        client.reader = self._first
        if rest:
            self._first(rest)
        return client.reader == client.http

    def _refuse(self, exchange: Exchange) -> None:
        client = self._client
        client.lane.gate.note_refusal(exchange)
        response = refuse(exchange, connect=True)
        exchange.status = response.status
        client.session.refused_too_often()  # a refused CONNECT is the last one in any case, but for a challenge
        # After that the connection stays: git and libcurl answer it there.
        client.keep = response.status == 407
        client.send(response.to_bytes(close=False))
        client.lane.gate.finish(client.session, exchange, "refused")

    # --- interception ---

    def _first(self, data: bytes) -> None:
        """The first bytes inside CONNECT: a TLS hello, or a plain request."""
        self._hello += data
        start = bytes(self._hello[:1])
        if start == b"\x16" and len(self._hello) < 3:
            return
        if start == b"\x16" and starts_handshake(bytes(self._hello)):
            self._greet(bytes(self._hello))
        elif start and start in _HTTP_START:
            plain, self._hello = bytes(self._hello), bytearray()
            self._client.reader = self._client.http
            self._client.http(plain)
        else:
            self._client.here.refuse_early(Reason.PROTOCOL_NOT_ALLOWED, "neither TLS nor HTTP")

    def _greet(self, data: bytes) -> None:
        client = self._client
        try:
            if not hello_complete(data):
                return
            hello = read_hello(data)
        except BadHello as error:
            self._bad_hello(str(error))
            return
        judge_hello(client.lane.gate, client.session, hello)
        context = client.lane.leaf_contexts.context(client_name(client.session, hello.sni))
        self._hello = bytearray()
        client.reader = client.http
        client.start_tls(Tls(context, server_side=True), data)

    def _bad_hello(self, why: str) -> None:
        client = self._client
        exchange, client.session.connecting = client.session.connecting, None
        if exchange is not None:
            exchange.refuse(Reason.PROTOCOL_NOT_ALLOWED, f"the client's TLS handshake failed: {why}")
            client.lane.gate.finish(client.session, exchange, "aborted")
        client.left()

    # --- tunnels ---

    async def _dial(self, exchange: Exchange, target: Authority, rest: bytes) -> None:
        client = self._client
        session, lane = client.session, client.lane
        try:
            grant = session.grants.get((target.host.name, target.port))
            if grant is None or session.barred is not None:
                raise DialError(Reason.POLICY_ERROR, "no decision allows this destination")
            share = lane.share(session.asker)
            upstream = await dial(lane.dialer, grant, session.asker, lambda: Upstream(None, share, speaks_first=True))
        except DialError as error:
            exchange.refuse(error.reason, str(error))
        except asyncio.CancelledError:
            exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "cancelled")
        except Exception as error:
            log.exception("dial failed", error=type(error).__name__)
            exchange.refuse(Reason.POLICY_ERROR, "an internal error")
        else:
            self._dialling = None
            if client.closed:
                upstream.abort()
            else:
                client.guarded(self._open, exchange, upstream, rest)
            return
        self._dialling = None
        if not client.closed:
            client.guarded(self._refuse_tunnel, exchange)

    def _refuse_tunnel(self, exchange: Exchange) -> None:
        self._refuse(exchange)
        self._client.close()

    def _open(self, exchange: Exchange, upstream: Upstream, rest: bytes) -> None:
        client = self._client
        exchange.upstream_ip = upstream.ip
        if upstream.closed:
            exchange.refuse(Reason.UPSTREAM_UNREACHABLE, "the upstream closed the connection at once")
            self._refuse_tunnel(exchange)
            return
        client.session.forget_grants()
        client.transport.write(_ESTABLISHED)
        relay = Relay(client, upstream, exchange)
        client.open_relay(relay)
        data = rest + client.requests.rest()
        client.resume()
        upstream.resume()
        if data:
            relay.from_client(data)
        if client.has_ended:
            relay.client_ended(whole=True)
