"""Where our state hangs on mitmproxy's objects: session and services on the client, the exchange on the flow."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.layers.http import Http2Client, Http2Server

from proxy.credentials.scrub import Mask
from proxy.dial import Dialer
from proxy.engine.certificates import ClientContexts, UpstreamContext
from proxy.exchange import Exchange
from proxy.fastlane.pool import Tickets
from proxy.fastlane.tls import LeafContexts, Ticket
from proxy.gate import Gate
from proxy.outbound import Outbound
from proxy.session import Session

_SESSION = "outgate_session"
_SERVICES = "outgate_services"
_OUTBOUND = "outgate_outbound"
_EXCHANGE = "outgate_exchange"
_MASK = "outgate_mask"
_HTTP2 = "outgate_http2"
_HOOKS = "outgate_hooks"
_TICKET = "outgate_ticket"

type HookRunner = Callable[[StartHook], None]


@dataclass(frozen=True, kw_only=True)
class Services:
    """What every connection of a worker shares. Built once per worker."""

    gate: Gate
    dialer: Dialer
    client_contexts: ClientContexts
    upstream_context: UpstreamContext
    leaf_contexts: LeafContexts
    upstream_tls: ssl.SSLContext
    tickets: Tickets = field(default_factory=Tickets)  # of `upstream_context`


type Http2Connections = list[Http2Server | Http2Client]


def attach(client: Client, session: Session, services: Services, run_hook: HookRunner) -> Http2Connections:
    """Hang our state on a client; returns the list in which its HTTP/2 connections are to be noted."""
    connections: Http2Connections = []
    client.__dict__.update({_SESSION: session, _SERVICES: services, _HTTP2: connections, _HOOKS: run_hook})
    return connections


def hooks_of(client: Client) -> HookRunner:
    """What runs the addons' hooks for a client, at once."""
    return cast(HookRunner, client.__dict__[_HOOKS])


def http2_of(client: Client) -> Http2Connections:
    return cast(Http2Connections, client.__dict__[_HTTP2])


def session_of(client: Client) -> Session:
    """The session of a client connection. Raises `KeyError` for a client that our handler did not make."""
    return cast(Session, client.__dict__[_SESSION])


def services_of(client: Client) -> Services:
    return cast(Services, client.__dict__[_SERVICES])


def note_ticket(server: Server, ticket: Ticket | None) -> None:
    """Note which TLS session a connection tries to resume."""
    server.__dict__[_TICKET] = ticket


def ticket_of(server: Server) -> Ticket | None:
    return cast(Ticket | None, server.__dict__.get(_TICKET))


def attach_exchange(flow: http.HTTPFlow, judged: Outbound | Exchange) -> None:
    """Note what the gate said of a flow."""
    flow.__dict__[_OUTBOUND] = judged if isinstance(judged, Outbound) else None
    flow.__dict__[_EXCHANGE] = judged.exchange if isinstance(judged, Outbound) else judged


def exchange_of(flow: http.HTTPFlow) -> Exchange | None:
    return cast(Exchange | None, flow.__dict__.get(_EXCHANGE))


def outbound_of(flow: http.HTTPFlow) -> Outbound | None:
    return cast(Outbound | None, flow.__dict__.get(_OUTBOUND))


def attach_mask(flow: http.HTTPFlow, mask: Mask | None) -> None:
    """Note what must be hidden in the flow's answer."""
    flow.__dict__[_MASK] = mask


def mask_of(flow: http.HTTPFlow) -> Mask | None:
    return cast(Mask | None, flow.__dict__.get(_MASK))
