"""The way into a CONNECT that was judged and answered: what is inside has no layers of the CONNECT above it."""

from mitmproxy.connection import Client
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context

from proxy.policy.host import Authority


class Inside(layer.NextLayer):
    """A connection from there on. What it turns out to be takes its place."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        context.layers.append(self)


def inside(client: Client, options: Options, target: Authority) -> Inside:
    """The layer of a client that is inside a CONNECT to this target."""
    context = Context(client, options)
    context.server.address = (target.host.name, target.port)
    return Inside(context)


class Enter(commands.Command):
    """Go on inside, in place of all the layers that the connection has had. `data` is the first that came."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class Entrance(layer.Layer):
    """Waits behind the answer to a CONNECT for the first bytes."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield Enter(event.data)
        elif isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.context.client)
