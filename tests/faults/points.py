"""Where a fault can be injected: every hook, every checkpoint, and the parts that they lean on. Found in the code.

A hook or a checkpoint that is added to the product is a point at once, and fails a test until its case is written.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import addons
from proxy import dial
from proxy.answer import BodyFilter
from proxy.audit import files, sink
from proxy.credentials.masks import Masks
from proxy.credentials.scrub import LiveMask
from proxy.credentials.sources import SecretStore
from proxy.dial import Dialer
from proxy.engine import reload, stream
from proxy.engine.certificates import ClientContexts, UpstreamContext
from proxy.fastlane import conversation, reach
from proxy.fastlane.client import ClientSide
from proxy.fastlane.connecting import Connecting
from proxy.fastlane.conversation import Conversation
from proxy.fastlane.delivery import Delivery
from proxy.fastlane.tls import LeafContexts
from proxy.gate import Gate

PARTS: dict[str, tuple[Any, str]] = {
    "dialer": (Dialer, "open"),
    "resolver": (dial, "_getaddrinfo"),
    "connect": (dial, "_connect"),
    "credential source": (SecretStore, "get"),
    "mask": (Masks, "of"),
    "mask of an answer": (LiveMask, "now"),
    "body filter": (BodyFilter, "feed"),
    "end of the body filter": (BodyFilter, "flush"),
    "audit begin": (sink.AuditSink, "begin"),
    "audit finish": (sink.AuditSink, "finish"),
    "audit file": (files, "write"),
    "client certificate": (ClientContexts, "connection"),
    "upstream verification": (UpstreamContext, "connection"),
    "upstream check": (stream, "check_upstream"),
    "upstream head": (stream, "upstream_request"),
    "policy reload": (reload, "load_policies"),
}

# Of the fast lane: what asyncio or a task calls, and the steps that follow from it.
LANE: dict[str, tuple[Any, str]] = {
    "lane client bytes": (ClientSide, "received"),
    "lane client step": (ClientSide, "advance"),
    "lane hello": (Connecting, "_greet"),
    "lane leaf": (LeafContexts, "context"),
    "lane upstream": (reach, "dial"),
    "lane connected": (Conversation, "_connected"),
    "lane upstream check": (reach, "check"),
    "lane answer": (conversation, "let_pass"),
    "lane answer piece": (Delivery, "frame"),
    "lane client gone": (ClientSide, "gone"),
}


def points() -> dict[str, tuple[Any, str]]:
    """Owner and attribute of every point, by its name."""
    hooks = {f"hook {name}": (type(addon), name) for addon in addons.build() for name in _public(type(addon))}
    gate = {f"gate {name}": (Gate, name) for name in _public(Gate)}
    return hooks | gate | PARTS | LANE


def _public(owner: type) -> Iterator[str]:
    return (name for name, value in vars(owner).items() if inspect.isfunction(value) and not name.startswith("_"))
