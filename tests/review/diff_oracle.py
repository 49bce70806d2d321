"""What the difference must say of a request, worked out from the decisions alone and from the words of a change."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from ipaddress import ip_address, ip_network

from proxy.policy.address import is_public, may_dial, within
from proxy.policy.decide import decide, decide_connect
from proxy.policy.host import Address, Host, HostPattern
from proxy.policy.path import AmbiguousPath, parse_pattern, read_path
from proxy.policy.reason import Reason
from proxy.policy.request import Request, read_query
from proxy.policy.rules import READ_METHODS, Policy
from proxy.review.changes import Change
from proxy.review.delta import Kind
from proxy.review.effect import Effect
from proxy.review.marks import Mark

# One address of every kind that the networks of the generated rules tell apart.
SAMPLE: list[Address] = [
    ip_address(text) for text in ("10.0.0.1", "10.0.1.1", "10.0.1.9", "8.8.8.8", "93.184.216.34", "fd00::1")
]
UNNAMED_PORT = 9  # that no generated rule names alone


@dataclass(frozen=True)
class Seen:
    """What happens to one request."""

    passes: bool
    denied: bool
    tunnel: bool = False
    http2: bool = False
    secret: str | None = None
    observed: bool = False
    reach: frozenset[Address] = frozenset()
    expired: bool = field(default=False, compare=False)
    replaces: bool = field(default=False, compare=False)


def seen(policy: Policy, request: Request, day: date, among: Sequence[Address] = SAMPLE) -> Seen:
    connect = decide_connect(policy, request.host, request.port, day)
    tunnel, http2 = (connect.tunnel, connect.http2) if request.scheme == "https" else (False, False)
    decision = connect.decision if tunnel else decide(policy, request, day)
    if not decision.allowed or (request.scheme == "https" and not connect.decision.allowed):
        denied = not decision.allowed and decision.rule is not None
        return Seen(False, denied, expired=decision.reason is Reason.RULE_EXPIRED)
    own = request.host.address
    sample = among if own is None else [own]
    reach = [ip for ip in sample if may_dial(ip, decision.networks) and not within(ip, policy.denied_networks)]
    if not reach:
        return Seen(False, own is not None and within(own, policy.denied_networks))
    spec = policy.credentials.get(decision.credential or "")
    spec = spec if spec and request.scheme == "https" and spec.bound_to(request.host) else None
    secret, replaces = (spec.source, spec.replace_client_credentials) if spec else (None, False)
    return Seen(True, False, tunnel, http2, secret, decision.observed, frozenset(reach), replaces=replaces)


def kind_of(old: Seen, new: Seen) -> Kind:
    if old.passes and new.passes:
        return Kind.CHANGED
    if new.passes:
        return Kind.ALLOWED
    if new.denied and not old.denied:
        return Kind.DENIED
    return Kind.REMOVED if old.passes else Kind.UNDENIED


def same_sides(change: Change, old: Seen, new: Seen) -> bool:
    """Whether the change tells both sides as they are: what passes, is denied, tunnelled, observed, injected."""
    if change.delta is None or change.kind is not kind_of(old, new):
        return False
    return (
        _effect(change.delta.old) == _facts(old)
        and _effect(change.delta.new) == _facts(new)
        and (change.kind is not Kind.CHANGED or _moved(change, old, new))
    )


def _effect(effect: Effect) -> tuple[object, ...]:
    secret = None if effect.secret is None else effect.secret.source
    return effect.passes, effect.denied, effect.tunnel, effect.http2, secret, effect.observed


def _facts(one: Seen) -> tuple[object, ...]:
    return one.passes, one.denied, one.tunnel, one.http2, one.secret, one.observed


def _moved(change: Change, old: Seen, new: Seen) -> bool:
    pairs = ((change.gained, new.reach - old.reach), (change.lost, old.reach - new.reach))
    return all({ip for ip in SAMPLE if any(within(ip, [ip_network(t)]) for t in texts)} == ips for texts, ips in pairs)


def marks_of_sides(old: Seen, new: Seen) -> set[Mark]:
    """The marks that a single request decides."""
    gained = new.reach - old.reach
    wanted = {
        Mark.NEW_CREDENTIAL_REACH: new.secret is not None and new.secret != old.secret,
        Mark.INSPECTION_OFF: new.tunnel and not old.tunnel,
        Mark.PRIVATE_ADDRESSES: any(not is_public(ip) for ip in gained),
        Mark.OBSERVE_MODE: new.observed and not old.observed,
        Mark.DENY_REMOVED: (old.denied and not new.denied) or (old.passes and any(is_public(ip) for ip in gained)),
        Mark.EXPIRY_REMOVED: old.expired and new.passes,
        Mark.OWN_KEYS: old.secret is not None and not old.replaces and new.passes and new.secret is None,
    }
    return {mark for mark, holds in wanted.items() if holds}


OF_SIDES = frozenset(Mark) - {Mark.NEW_HOST, Mark.NEW_WRITE, Mark.WILDCARD_WIDENED, Mark.HTTP}


def marks_of_words(change: Change) -> set[Mark]:
    """The marks that the words of a change decide."""
    if change.kind is not Kind.ALLOWED:
        return set()
    reads = change.methods[0].startswith("any method") is False and READ_METHODS.issuperset(change.methods)
    plain = change.endpoints[0].startswith("any scheme")
    missing = _listed(change.endpoints[0].removeprefix("any scheme and port but ")) if plain else []
    http = any(text.startswith(("http:", "http ")) or text == "http" for text in change.endpoints)
    http |= plain and missing != ["http"] and "http on any other port" not in missing
    return {mark for mark, holds in ((Mark.NEW_WRITE, not reads), (Mark.HTTP, http)) if holds}


def speaks_of(change: Change, request: Request, day: date, patterns: Sequence[HostPattern] | None = None) -> bool:
    """Whether the words of the change mean the request. With all `patterns` of hosts, only if they leave no doubt."""
    exactly = patterns is not None
    hosts = change.hosts if patterns is None else _closest(change.hosts, request.host, patterns)
    return (
        any(_host_in(text, request.host) for text in hosts)
        and _method_in(change.methods, request.method)
        and _endpoint_in(change.endpoints, request, exactly)
        and _day_in(change.days, day)
        and _query_in(change.queries, request.query, exactly)
        and _path_in(change, request.path, exactly)
    )


def _listed(text: str) -> list[str]:
    return re.split(", | and ", text)


def _endpoint_in(endpoints: tuple[str, ...], request: Request, exactly: bool) -> bool:
    if endpoints[0].startswith("any scheme"):
        return _spelled(request) not in _listed(endpoints[0].removeprefix("any scheme and port but "))
    other = not exactly or request.port == UNNAMED_PORT
    return _spelled(request) in endpoints or (other and f"{request.scheme} on any other port" in endpoints)


def _spelled(request: Request) -> str:
    usual = {"https": 443, "http": 80}[request.scheme]
    return request.scheme if request.port == usual else f"{request.scheme}:{request.port}"


def _host_in(text: str, host: Host) -> bool:
    if text.startswith("any other"):
        return (host.address is not None) == text.endswith("address")
    if host.address is not None:
        return _within(host, text)
    return HostPattern(text.removeprefix("*."), text.startswith("*.")).matches(host)


def _closest(texts: Sequence[str], host: Host, patterns: Sequence[HostPattern]) -> list[str]:
    """Of the words for hosts, those of the one class in which the host is."""
    if host.address is not None:
        return [text for text in texts if not text.startswith("any other")]
    mine = [each for each in patterns if each.matches(host)]
    closest = max(mine, key=lambda each: (not each.wildcard, len(each.name)), default="any other host")
    return [text for text in texts if text == str(closest)]


def _within(host: Host, text: str) -> bool:
    try:
        return host.address is not None and within(host.address, [ip_network(text)])
    except ValueError:
        return False


def _method_in(methods: tuple[str, ...], method: str) -> bool:
    if methods[0].startswith("any method"):
        return method not in _listed(methods[0].removeprefix("any method but "))
    return method in methods


def _day_in(days: str, day: date) -> bool:
    def inside(run: str) -> bool:
        begin = re.search(r"from (\S+)", run)
        end = re.search(r"until (\S+)", run)
        return (not begin or begin[1] <= str(day)) and (not end or str(day) <= end[1])

    return any(inside(run) for run in days.split(" and "))


def _query_in(texts: tuple[str, ...], raw: str, exactly: bool) -> bool:
    pairs = [f"{key}={value}" for key, value in read_query(raw, "&;")]
    if not texts:
        return True
    if exactly:
        return (", ".join(pairs) if pairs else "any other query") in texts
    wanted = [set(text.removesuffix(" repeated").lower().split(", ")) for text in texts]  # blind to case, as deny rules
    return "any other query" in texts or any(each <= {pair.lower() for pair in pairs} for each in wanted)


def _path_in(change: Change, path: str, exactly: bool) -> bool:
    if not change.paths:
        return True
    try:
        segments = read_path(path)
    except AmbiguousPath:
        try:
            segments = read_path(path, keep_encoded_slash=True)
        except AmbiguousPath:
            return (_idle(change) and not exactly) or "paths that servers read differently" in change.paths
        # Of a path with an encoded slash, what only deny rules say is told under the path with a plain one.
        return not exactly and (
            _idle(change) or any(_shown(change.paths, segments, blind=True)) or "paths with %2F" in change.paths
        )
    if exactly and not re.fullmatch("/|(/[a-z0-9]+)+", path):
        return False  # deny rules do not see how a path is spelled, and allow rules do
    dots = any(segment.strip(". ") == "" for segment in segments[:-1])  # deny rules see nothing of such a segment
    if any(_shown(change.but, segments, blind=False)) and (exactly or not dots):
        return any(text.startswith("other spellings") for text in change.paths) and not exactly
    return any(_shown(change.paths, segments, blind=not exactly))


def _idle(change: Change) -> bool:
    return change.delta is not None and change.delta.old.denied != change.delta.new.denied


def _shown(texts: Sequence[str], segments: tuple[str, ...], *, blind: bool) -> Iterator[bool]:
    for text in texts:
        if text.startswith("/"):
            pattern = parse_pattern(text, keep_encoded_slash=True)
            yield pattern.matches(segments) or (blind and pattern.denies(segments))
        elif text.startswith("other spellings of ") and blind:
            yield parse_pattern(text.removeprefix("other spellings of "), keep_encoded_slash=True).denies(segments)
