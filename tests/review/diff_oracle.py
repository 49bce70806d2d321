"""What the difference must say of a request, worked out from the decisions alone and from the words of a change."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from ipaddress import ip_address, ip_network

from proxy.policy.address import Network, is_public, may_dial, within
from proxy.policy.decide import decide, decide_connect
from proxy.policy.host import Address, Host, HostPattern
from proxy.policy.path import AmbiguousPath, PathPattern, folded_segment, parse_pattern, read_path
from proxy.policy.query import Query, read_query
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import READ_METHODS, Policy
from proxy.review.changes import Change
from proxy.review.delta import Kind
from proxy.review.effect import Effect
from proxy.review.marks import Mark

# One address of every kind that the networks of the generated rules tell apart.
SAMPLE: list[Address] = [
    ip_address(text) for text in ("10.0.0.1", "10.0.1.1", "10.0.1.9", "8.8.8.8", "93.184.216.34", "fd00::1")
]


@dataclass(frozen=True)
class Seen:
    """What happens to one request."""

    passes: bool
    denied: bool
    tunnel: bool = False
    http2: bool = False
    trace_context: bool = False
    secret: str | None = None
    observed: bool = False
    reach: frozenset[Address] = frozenset()
    expired: bool = field(default=False, compare=False)


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
    secret = spec.source if spec else None
    return Seen(True, False, tunnel, http2, decision.trace_context, secret, decision.observed, frozenset(reach))


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
    return effect.passes, effect.denied, effect.tunnel, effect.http2, effect.trace_context, secret, effect.observed


def _facts(one: Seen) -> tuple[object, ...]:
    return one.passes, one.denied, one.tunnel, one.http2, one.trace_context, one.secret, one.observed


def _moved(change: Change, old: Seen, new: Seen) -> bool:
    pairs = ((change.gained, new.reach - old.reach), (change.lost, old.reach - new.reach))
    return all({ip for ip in SAMPLE if any(_network_has(text, ip) for text in texts)} == ips for texts, ips in pairs)


def _network_has(text: str, ip: Address) -> bool:
    text, _, but = text.rstrip(")").partition(" (except ")
    if any(within(ip, [ip_network(each)]) for each in but.split(", ") if each):
        return False
    return within(ip, [ip_network(text)])


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
        Mark.TRACE_CONTEXT: new.trace_context and not old.trace_context and not old.tunnel,
        Mark.OWN_KEYS: old.secret is not None and new.passes and new.secret is None,
    }
    return {mark for mark, holds in wanted.items() if holds}


OF_SIDES = frozenset(Mark) - {Mark.NEW_HOST, Mark.NEW_WRITE, Mark.WILDCARD_WIDENED, Mark.HTTP}


def marks_of_words(change: Change) -> set[Mark]:
    """The marks that the words of a change decide."""
    if change.kind is not Kind.ALLOWED:
        return set()
    reads = change.methods[0].startswith("any method") is False and READ_METHODS.issuperset(change.methods)
    http = any(text == "any scheme and port" or re.match("http(:| |$)", text) for text in change.endpoints)
    return {mark for mark, holds in ((Mark.NEW_WRITE, not reads), (Mark.HTTP, http)) if holds}


def speaks_of(change: Change, request: Request, day: date, named: Sequence[HostPattern | Network]) -> bool:
    """Whether the words of the change mean the request, taken literally. `named` are all hosts that policies name."""
    return (
        any(_host_in(text, request.host, named) for text in change.hosts)
        and _method_in(change.methods, request.method)
        and any(_endpoint_in(text, request) for text in change.endpoints)
        and _day_in(change.days, day)
        and _among(change.queries, change.queries_but, lambda text: _query_in(text, request.query))
        and _among(change.paths, change.but, lambda text: _path_in(text, request.path))
    )


def _among(texts: tuple[str, ...], but: tuple[str, ...], means: Callable[[str], bool]) -> bool:
    return (not texts or any(map(means, texts))) and not any(map(means, but))


def _listed(text: str) -> list[str]:
    return re.split(", | and ", text)


def _endpoint_in(text: str, request: Request) -> bool:
    if text == "any scheme and port":
        return True
    if found := re.fullmatch(r"(https?) \(any port(?: but (.+))?\)", text):
        return request.scheme == found[1] and str(request.port) not in (found[2] or "").split(", ")
    scheme, _, port = text.partition(":")
    return request.scheme == scheme and request.port == int(port or {"https": 443, "http": 80}[scheme])


def _host_in(text: str, host: Host, named: Sequence[HostPattern | Network]) -> bool:
    if found := re.fullmatch("any (host|address) that no rule names", text):
        wanted = (found[1] == "address") is (host.address is not None)
        return wanted and not any(_named_by(each, host) for each in named)
    text, _, but = text.partition(" (except ")
    if any(_host_in(each, host, named) for each in but.rstrip(")").split(", ") if each):
        return False
    if text[0].isdigit() or ":" in text:
        return _named_by(ip_network(text), host)
    return _named_by(HostPattern(text.removeprefix("*."), text.startswith("*.")), host)


def _named_by(one: HostPattern | Network, host: Host) -> bool:
    if isinstance(one, HostPattern):
        return one.matches(host)
    return host.address is not None and within(host.address, [one])


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


def _query_in(text: str, raw: str) -> bool:
    """`k=1&l=1 (any spelling, also repeated) and m=1`: as deny rules mean the first, and as allow rules the second."""
    blind, also, exact = text.rpartition(" (any spelling, also repeated)")
    exact = exact.removeprefix(" and ")
    if also and not Query(raw).denied(tuple(read_query(blind, "&"))):
        return False
    return exact in ("", "any") or Query(raw).matches(tuple(read_query(exact, "&")))


def _path_in(text: str, path: str) -> bool:
    """A pattern in its own spelling, of paths without %2F, unless the words behind it say otherwise."""
    strict, kept = _read(path, keep=False), _read(path, keep=True)
    if text == "paths that servers read differently":
        return strict is None
    if text == "paths that servers read differently for more than %2F":
        return kept is None
    if kept is None:
        return False
    if text == "paths with %2F":
        return strict is None
    found = re.fullmatch(r"(\S+)(?: \((.+?)\))?(?: that is (.+) in any spelling)?", text)
    assert found, text
    pattern, said, denied = parse_pattern(found[1], keep_encoded_slash=True), found[2] or "", found[3]
    if denied and not all(_denies(parse_pattern(each), path) for each in denied.split(" and ")):
        return False
    if said.endswith(" * is blank"):
        seen = _partly(pattern, [], kept)
        return strict is not None and pattern.matches(kept) and seen is (said == "no * is blank")
    if said.startswith("any spelling of "):
        return strict is not None and _partly(pattern, said.removeprefix("any spelling of ").split(", "), strict)
    slashes = said.removeprefix("any spelling").removeprefix(", ")
    if said.startswith("any spelling"):
        return _denies(pattern, path) and {"": True, "with %2F": not strict, "without %2F": bool(strict)}[slashes]
    means = {"": bool(strict) or "%2F" in found[1], "also with %2F": True, "with %2F": not strict}[slashes]
    return means and pattern.matches(kept)


def _read(path: str, *, keep: bool) -> tuple[str, ...] | None:
    try:
        return read_path(path, keep_encoded_slash=keep)
    except AmbiguousPath:
        return None


def _denies(pattern: PathPattern, path: str) -> bool:
    """As a deny rule: in the reading that keeps an encoded slash, and in the one that splits there."""
    kept = _read(path, keep=True)
    return kept is not None and any(pattern.denies(each) for each in (kept, _split(kept)))


def _split(kept: tuple[str, ...]) -> tuple[str, ...]:
    """Each slash separates, and several at once are one."""
    return tuple(re.sub("/+", "/", "/" + "/".join(kept))[1:].split("/"))


def _partly(pattern: PathPattern, spelled: Sequence[str], path: tuple[str, ...]) -> bool:
    """Whether a path is meant by a pattern of which some words, and maybe its end, stand for all their spellings."""
    if "the end" in spelled and len(path) == len(pattern.segments) + 1 and folded_segment(path[-1]) == "":
        path = path[:-1]
    if len(path) < len(pattern.segments):
        return False
    words = list(path)
    for number, want in enumerate(pattern.segments):
        if want is None and folded_segment(path[number]) == "":
            return False
        if want in spelled and want and folded_segment(path[number]) == folded_segment(want):
            words[number] = want
    return pattern.matches(tuple(words))
