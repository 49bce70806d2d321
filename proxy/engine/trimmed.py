"""What mitmproxy 12.2.3 does for addons that users write, for logs and for debugging, left out.

Takes the place of functions of its (see tests/engine/test_mirrored.py) as soon as it is imported.
"""

from collections.abc import Iterable
from typing import Any

from h2.frame_buffer import Frame  # type: ignore[attr-defined]
from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer, Paused

from proxy.engine.state import hooks_of


def handle_event(self: Layer, event: events.Event) -> CommandGenerator[None]:
    """Mirrors `Layer.handle_event`; a hook runs where the layer asks for it: nothing pauses, nothing has to come back.

    Without debug output.
    """
    paused, reply = self._paused, None
    if paused is None:
        made: CommandGenerator[Any] = self._handle_event(event)
    elif isinstance(event, events.CommandCompleted) and event.command is paused.command:
        self._paused, made, reply = None, paused.generator, event.reply
    else:
        self._paused_event_queue.append(event)
        return
    while True:
        try:
            command = made.send(reply)
        except StopIteration:
            if paused is None or self._paused is not None or not self._paused_event_queue:
                return
            made, reply = self._handle_event(self._paused_event_queue.popleft()), None
            continue
        reply = None
        if command.blocking is not True:
            yield command
        elif isinstance(command, commands.StartHook):
            hooks_of(self.context.client)(command)
        else:
            command.blocking = self
            self._paused = Paused(command, made)
            yield command
            return


def fork(self: Context) -> Context:
    """Mirrors `Context.fork`, without a server connection that is thrown away at once."""
    made = Context.__new__(Context)
    made.client, made.server, made.options, made.layers = self.client, self.server, self.options, self.layers.copy()
    return made


def make_headers(self: http.Headers, fields: Iterable[tuple[bytes, bytes]] = (), **named: str | bytes) -> None:
    """Mirrors `Headers.__init__`, without a look at each field's type where none comes as an argument."""
    if named:
        _make_headers(self, fields, **named)
    else:
        self.fields = tuple(map(tuple, fields))  # type: ignore[arg-type]


def get_all(self: http.Headers, name: str | bytes) -> list[str]:
    """Mirrors `Headers.get_all`, with one conversion of each name."""
    wanted = (name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")).lower()
    return [value.decode("utf-8", "surrogateescape") for key, value in self.fields if key.lower() == wanted]


def get(self: http.Headers, name: str | bytes, default: Any = None) -> Any:
    """Mirrors `Headers.get`, without an exception for a field that is not there."""
    values = self.get_all(name)
    return ", ".join(values) if values else default


def contains(self: http.Headers, name: object) -> bool:
    """Mirrors `Headers.__contains__`, likewise."""
    return isinstance(name, str | bytes) and bool(self.get_all(name))


_make_headers = http.Headers.__init__

for _owner, _name, _ours in (
    (Layer, "handle_event", handle_event),
    (Context, "fork", fork),
    (http.Headers, "__init__", make_headers),
    (http.Headers, "get_all", get_all),
    (http.Headers, "get", get),
    (http.Headers, "__contains__", contains),
    # Each is itself alone: others are there for connections that were written to a file.
    (Connection, "__eq__", object.__eq__),
    (Connection, "__hash__", object.__hash__),
    # The check of each field's type when a message is made; ours are type-checked before they run.
    (http.RequestData, "__post_init__", lambda _: None),
    (http.ResponseData, "__post_init__", lambda _: None),
    # `h2` makes the text of each frame for a log that is not written.
    (Frame, "__repr__", object.__repr__),
):
    setattr(_owner, _name, _ours)
