"""Hooks run where a layer asks for one: nothing pauses, and nothing comes back through the layers above it.

Takes the place of a method of mitmproxy 12.2.3's `Layer` (see tests/engine/test_mirrored.py) as soon as it is imported.
"""

from typing import Any

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator, Layer, Paused

from proxy.engine.state import hooks_of


def handle_event(self: Layer, event: events.Event) -> CommandGenerator[None]:
    """Mirrors `Layer.handle_event`, without debug output: a layer waits for replies to its other commands alone."""
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


Layer.handle_event = handle_event  # type: ignore[method-assign]
