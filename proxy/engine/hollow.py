"""Modules that mitmproxy 12.2.3 imports and our engine never uses, put in place hollow before it does.

QUIC and HTTP/3, its reading of WebSocket messages (frames are relayed), its command language, its option files: half of
the time that the engine takes to start. What is not loaded cannot be reached. A hollow module gives a class for
whatever is imported from it, of which nothing is an instance and none can be made: code that would use it raises, and
so fails closed.
"""

import sys
from types import ModuleType
from typing import Any, NoReturn

MODULES = (
    "mitmproxy.proxy.layers.quic",
    "mitmproxy.proxy.layers.http._http3",
    *("mitmproxy.proxy.layers.websocket", "wsproto", "wsproto.frame_protocol", "wsproto.handshake"),
    *("mitmproxy.command_lexer", "pyparsing"),
    *("ruamel", "ruamel.yaml"),
)


class Hollow(ModuleType):
    """A module of which nothing is there but names."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__module__": self.__name__, "__new__": _refuse})
        setattr(self, name, made)
        return made


def _refuse(cls: type, *_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(f"{cls.__module__}.{cls.__name__} is not part of this engine")


def put_in_place() -> None:
    """Put the modules in place that nobody has imported yet."""
    for name in MODULES:
        if name not in sys.modules:
            module = Hollow(name)
            module.__path__ = []  # a package, in which nothing else is found
            sys.modules[name] = module
            parent, _, last = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], last, module)
