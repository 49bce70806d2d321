"""Whose TLS sessions with an upstream are whose."""

from dataclasses import replace
from typing import Any

from mitmproxy.connection import Client, ConnectionState, Server

from proxy.engine.resuming import use_of
from proxy.engine.state import attach
from proxy.fastlane.pool import Use
from proxy.policy.rules import Policy
from proxy.serving import Serving
from proxy.session import Bound, Sandbox, Session

SANDBOX = Sandbox("one", Policy(name="p", digest="d"), Serving.read([], {}))


def use(
    sandbox: Sandbox | None, number: int | None = None, address: tuple[str, int] = ("a.example", 443)
) -> Use | None:
    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2), state=ConnectionState.OPEN)
    session = Session("a client", sandbox=sandbox)
    if number is not None:
        session.bound = Bound(number, "one", "p", Any)  # type: ignore[arg-type]
    attach(client, session, Any, lambda _: None)  # type: ignore[arg-type]
    return use_of(client, Server(address=address))


def test_a_session_is_its_sandboxs_under_one_policy_for_one_end() -> None:
    others = [
        use(replace(SANDBOX, name="two")),
        use(replace(SANDBOX, policy=Policy(name="p", digest="e"))),
        use(SANDBOX, number=1),
        use(SANDBOX, number=2),
        use(SANDBOX, address=("b.example", 443)),
        use(SANDBOX, address=("a.example", 444)),
    ]
    assert use(SANDBOX) == use(SANDBOX)
    assert len({use(SANDBOX), *others}) == 1 + len(others)


def test_nobody_resumes_before_it_is_known_who_asks() -> None:
    assert use(None) is None
