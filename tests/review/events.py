"""Audit events for tests, made by the product's own writer."""

import json
from datetime import UTC, datetime
from typing import Any

from proxy.audit.event import Event, event_of
from proxy.exchange import Exchange
from proxy.policy.decide import Decision
from proxy.policy.host import parse_authority
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy

START = datetime(2026, 11, 20, 10, tzinfo=UTC).timestamp()


def event(method: str = "GET", url: str = "https://a.example/", **given: Any) -> Event:
    """What was observed, unless `given` says otherwise: the fields of the event. `at` is seconds after ten o'clock."""
    scheme, _, rest = url.partition("://")
    place, slash, target = rest.partition("/")
    authority = parse_authority(place, {"http": 80, "https": 443, "": 443}[scheme])
    path, _, query = (slash + target).partition("?")
    exchange = Exchange(
        sandbox="task-1",
        policy=Policy(name="watch", digest="0" * 64),
        client="127.0.0.1:5000",
        started_at=START + given.pop("at", 0),
        scheme=scheme,
        host=authority.host,
        port=authority.port,
        method=method,
        path=path,
        query_keys=tuple(pair.partition("=")[0] for pair in query.split("&") if pair),
        decision=Decision(allowed=True, reason=Reason.HOST_NOT_ALLOWED, observed=True),
        status=200,
        end="complete",
    )
    return {**event_of(exchange, exchange.started + 0.01), **given}


def tunnel(place: str, **given: Any) -> Event:
    """A tunnel that a rule opened."""
    return event(
        "CONNECT",
        f"https://{place}",
        **{"scheme": "", "reason": "allowed", "rule": "t", "upstream_ip": "151.101.1.1", **given},
    )


def refused(reason: str, method: str = "GET", url: str = "https://a.example/", **given: Any) -> Event:
    return event(method, url, **{"verdict": "deny", "reason": reason, "end": "refused", **given})


def passed(rule: str, method: str = "GET", url: str = "https://a.example/", **given: Any) -> Event:
    return event(method, url, **{"reason": "allowed", "rule": rule, **given})


def lines(*events: Event) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)
