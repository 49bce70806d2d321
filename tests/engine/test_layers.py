"""The layers of a connection let go of what has closed, in the tunnel and around it."""

from types import SimpleNamespace
from typing import Any

from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.engine.layers import Http
from proxy.engine.state import attach
from proxy.session import Session


class Inside(layer.Layer):
    """Stands for all that is inside a tunnel."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:  # noqa: ARG002
        yield from ()


def around() -> Http:
    """The HTTP layer of a client connection, before its first request."""
    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2), state=ConnectionState.OPEN)
    attach(client, Session("a client"), Any, lambda _: None)  # type: ignore[arg-type]
    http = Http(Context(client, SimpleNamespace(proxy_debug=False)), HTTPMode.regular)  # type: ignore[arg-type]
    list(http.handle_event(events.Start()))
    return http


def dialled(http: Http) -> tuple[Server, commands.OpenConnection]:
    """A connection that is dialled from inside a tunnel, as the layer around it sees that."""
    inside = Inside(http.context)
    command = commands.OpenConnection(Server(address=("free.example", 443)))
    http.command_sources[command] = inside
    http.connections[command.connection] = inside
    return command.connection, command


def known(http: Http) -> set[Server]:
    return {each for each in http.connections if isinstance(each, Server)}


def test_a_connection_of_a_tunnel_is_forgotten_around_it_once_it_has_closed() -> None:
    http = around()
    for _ in range(3):
        server, command = dialled(http)
        server.state = ConnectionState.OPEN
        list(http.handle_event(events.OpenConnectionCompleted(command, None)))
        assert known(http) == {server}
        server.state = ConnectionState.CLOSED
        list(http.handle_event(events.ConnectionClosed(server)))
        assert known(http) == set()


def test_a_connection_that_could_not_be_opened_is_forgotten_and_one_that_is_still_dialled_is_not() -> None:
    http = around()
    failed, command = dialled(http)
    pending, _ = dialled(http)
    list(http.handle_event(events.OpenConnectionCompleted(command, "refused")))
    assert known(http) == {pending}
    assert failed not in http.connections
