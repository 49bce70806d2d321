"""What a person asks about: `GET https://host/path`, or `CONNECT host:443`; and what the policy says to it."""

import re
from dataclasses import dataclass
from datetime import date

from proxy.errors import ConfigError
from proxy.policy.decide import Decision, decide, decide_connect
from proxy.policy.host import INTERNAL, Authority, MalformedHost, parse_authority
from proxy.policy.reason import Reason
from proxy.policy.request import MalformedRequest, Request
from proxy.policy.rules import Policy

type Asked = Request | Authority
"""A request, or the target of a CONNECT that asks for a tunnel without inspection."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?", re.ASCII | re.DOTALL)
_PORTS = {"https": 443, "http": 80}
_HOST_HINT = "a URL here has a host, perhaps a port, and no user; a name outside ASCII in its xn-- form"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says. `tunnel`: a rule with `inspect: false` speaks, so only host and port were judged."""

    decision: Decision
    tunnel: bool = False

    @property
    def allowed(self) -> bool:
        return self.decision.allowed


def parse_asked(method: str, target: str) -> Asked:
    """The request that a client would make for a URL, or with CONNECT the tunnel to `host:port`.

    Raises `ConfigError` for what is no method, URL or target.
    """
    if method == "CONNECT" and "://" not in target:
        try:
            return _outside(parse_authority(target, None))
        except MalformedHost as error:
            raise ConfigError(str(error), "write CONNECT with host and port: updates.example.com:443") from None
    return parse_request(method, target)


def _outside(place: Authority) -> Authority:
    if place.host.name == INTERNAL:
        raise ConfigError(f"no policy decides about {INTERNAL}", "Outgate answers there itself, for every sandbox")
    return place


def parse_request(method: str, url: str) -> Request:
    """The request that a client would make for a URL. Raises `ConfigError` for what is no method or URL."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigError(f"not a URL: {url[:200]!r}", "write it whole: https://api.example.com/path")
    scheme, authority, target, fragment = match[1].lower(), match[2], match[3], match[4]
    if scheme not in _PORTS:
        raise ConfigError(f"not a scheme of the proxy: {scheme}", "use https or http; a WebSocket is a GET of https")
    if fragment is not None:
        raise ConfigError("the URL has a fragment, which is never sent", "leave out what follows #")
    if not target.startswith("/"):
        target = "/" + target
    try:
        place = _outside(parse_authority(authority, _PORTS[scheme]))
        return Request(scheme, place.host, place.port, method, target)
    except MalformedHost as error:
        raise ConfigError(str(error), _HOST_HINT) from None
    except MalformedRequest as error:
        hint = "methods are upper-case, and what is not visible ASCII in a path is percent-encoded"
        raise ConfigError(str(error), hint) from None


def judge(policy: Policy, asked: Asked, today: date) -> Verdict:
    """What the gate would say, first to the CONNECT that the scheme needs, then to the request.

    To a tunnel that no rule with `inspect: false` opens the answer is no, though the proxy would take the CONNECT
    for the sake of the requests in it.
    """
    if isinstance(asked, Authority):
        return _judge_tunnel(policy, asked, today)
    if asked.scheme == "https":
        connect = decide_connect(policy, asked.host, asked.port, today)
        if connect.tunnel or not connect.decision.allowed:
            return Verdict(connect.decision, connect.tunnel)
    return Verdict(decide(policy, asked, today))


def _judge_tunnel(policy: Policy, target: Authority, today: date) -> Verdict:
    connect = decide_connect(policy, target.host, target.port, today)
    if connect.tunnel or not connect.decision.allowed:
        return Verdict(connect.decision, connect.tunnel)
    rules = [rule for rule in policy.allow.speaking_of(target.host) if rule.opens_port(target.port)]
    if rules:  # they inspect, and what is in the connection must then be HTTP
        return Verdict(Decision(reason=Reason.PROTOCOL_NOT_ALLOWED, nearest=min(rule.id for rule in rules)))
    literal = target.host.address is not None
    return Verdict(Decision(reason=Reason.ADDRESS_NOT_ALLOWED if literal else Reason.HOST_NOT_ALLOWED))
