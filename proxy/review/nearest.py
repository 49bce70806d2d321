"""The allow rule that came closest to a denied request, and exactly what differed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from proxy.config.hosts import read_host
from proxy.config.wrong import Wrong
from proxy.policy.decide import Decision
from proxy.policy.host import Authority, Host
from proxy.policy.path import AmbiguousPath, PathPattern, Segments, read_path
from proxy.policy.query import read_query
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import NEVER_METHODS, Policy, Rule
from proxy.review.asked import Asked, Verdict
from proxy.review.sections import rules_in

_SHOWN = 120
_MOST_PATTERNS = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a request differs from a rule: `what` is the key, `asked` and `takes` the two sides.

    `what` is one of host, inspect, scheme, port, method, path, query and expires, the order in which rules are judged.
    """

    what: str
    asked: str
    takes: str
    words: str


@dataclass(frozen=True, slots=True)
class Nearest:
    """A rule, and all in which the request differs from it, at least one thing."""

    rule: Rule
    differences: tuple[Difference, ...]


def nearest(policy: Policy, asked: Asked, verdict: Verdict, today: date) -> Nearest | None:
    """The allow rule that almost matched a denied request, or None where no rule is like it.

    It is as near as the one that the decision names; of several such, that with the fewest differences and the
    most similar path. Where no rule speaks of the host, it is one with a similar host.
    """
    decision = verdict.decision
    never = isinstance(asked, Request) and asked.method in NEVER_METHODS
    if decision.rule is not None or never or decision.reason is Reason.MALFORMED_REQUEST:
        return None  # a deny rule decided, or a method that no rule can allow
    about = policy.allow.speaking_of(asked.host)
    if not about:
        return _by_host(policy, asked, today)
    found = [Nearest(rule, differences(rule, asked, today) or _unread(asked, decision)) for rule in about]
    found = [each for each in found if each.differences]
    named = next((each for each in found if each.rule.id == decision.nearest), None)
    if named is not None:
        found = [each for each in found if each.differences[0].what == named.differences[0].what]
    return min(found, key=lambda each: _far(each, asked), default=None)


def _unread(asked: Asked, decision: Decision) -> tuple[Difference, ...]:
    """Why a rule that takes any path is not enough: another one about the host makes the path matter."""
    if decision.reason is not Reason.AMBIGUOUS_PATH or isinstance(asked, Authority):
        return ()
    words = "two servers could read the path differently, and another rule about the host speaks of paths"
    return (Difference("path", _cut(asked.path), "a path with one reading", words),)


def differences(rule: Rule, asked: Asked, today: date) -> tuple[Difference, ...]:
    """All in which the request differs from an allow rule; nothing if the rule, alone, would allow it."""
    return tuple(_differences(rule, asked, today))


def _differences(rule: Rule, asked: Asked, today: date) -> Iterator[Difference]:
    if not rule.speaks_of(asked.host):
        takes = _listed([*map(str, rule.hosts), *map(str, rule.networks)])
        yield Difference("host", asked.host.name, takes, _host_words(asked.host, rule))
    if isinstance(asked, Authority):
        if rule.inspect:
            words = "the rule inspects what is in the connection, which must be HTTP"
            yield Difference("inspect", "a tunnel", "requests that are inspected", words)
        if not rule.opens_port(asked.port):
            yield _port(rule, asked.port)
    elif not rule.inspect:
        yield from _tunnel(rule, asked)
    else:
        yield from _http(rule, asked)
    if rule.expired(today):
        words = f"the rule held until {rule.expires}, and the day is {today}"
        yield Difference("expires", str(today), str(rule.expires), words)


def _tunnel(rule: Rule, request: Request) -> Iterator[Difference]:
    if request.scheme != "https":
        yield Difference("scheme", request.scheme, "a tunnel", "a tunnel carries TLS, not http")
    if not rule.opens_port(request.port):
        yield _port(rule, request.port)


def _http(rule: Rule, request: Request) -> Iterator[Difference]:
    if rule.endpoints is not None and (request.scheme, request.port) not in rule.endpoints:
        schemes = sorted({scheme for scheme, _ in rule.endpoints})
        if request.scheme not in schemes:
            takes = _listed(schemes)
            yield Difference("scheme", request.scheme, takes, f"the scheme is {request.scheme}, the rule takes {takes}")
        # With the other scheme the usual port is another one too, and that is no difference of its own.
        if request.scheme in schemes or request.port not in (80, 443):
            if not rule.opens_port(request.port):
                yield _port(rule, request.port)
    yield from _methods(rule, request)
    if rule.paths is not None:
        yield from _path(rule, rule.paths, request)
    if rule.query and not request.asked.matches(rule.query):
        yield from _query(rule, request)


def _methods(rule: Rule, request: Request) -> Iterator[Difference]:
    for method in sorted(request.methods):
        said = "the method is" if method == request.method else "the query names the method"
        if method in NEVER_METHODS:
            yield Difference("method", method, "any other", f"{method} never passes, whatever a rule says")
        elif rule.methods is not None and method not in rule.methods:
            takes = _listed(sorted(rule.methods))
            yield Difference("method", method, takes, f"{said} {method}, the rule takes {takes}")


def _port(rule: Rule, port: int) -> Difference:
    takes = _listed([str(known) for known in sorted({known for _, known in rule.endpoints or ()})])
    return Difference("port", str(port), takes, f"the port is {port}, the rule takes {takes}")


def _path(rule: Rule, patterns: tuple[PathPattern, ...], request: Request) -> Iterator[Difference]:
    takes = _listed([str(pattern) for pattern in patterns])
    try:
        path = read_path(request.path, keep_encoded_slash=rule.keep_encoded_slash)
    except AmbiguousPath as error:
        words = f"two servers could read the path differently: {error}"
        yield Difference("path", _cut(request.path), takes, words)
        return
    if not any(pattern.matches(path) for pattern in patterns):
        closest = min(patterns, key=lambda pattern: (_distance(pattern, path), str(pattern)))
        yield Difference("path", _cut(request.path), takes, _path_words(closest, path))


def _path_words(pattern: PathPattern, path: Segments) -> str:
    for number, (want, have) in enumerate(zip(pattern.segments, path, strict=False), 1):
        if want is None and have == "":
            return f"segment {number} is empty, and the `*` of {_cut(str(pattern))} is never an empty one"
        if want is not None and want != have:
            where = f"segment {number} is {_quoted(have)}, {_cut(str(pattern))} has {_quoted(want)}"
            return f"{where}: case counts" if want.casefold() == have.casefold() else where
    over = len(path) - len(pattern.segments)
    if over == 1 and path[-1] == "":
        return f"the path ends in a slash, {_cut(str(pattern))} does not"
    if over > 0:
        return f"the path goes on behind {_cut(str(pattern))} with {_quoted('/'.join(path[-over:]))}"
    return f"the path ends before {_cut(str(pattern))} does"


def _query(rule: Rule, request: Request) -> Iterator[Difference]:
    pairs = read_query(request.query, "&")
    counts = Counter(key for key, _ in pairs)
    loose = Counter(key for key, _ in read_query(request.query, "&;"))
    for key, value in rule.query:
        takes = f"{key}={value}"
        values = [have for found, have in pairs if found == key]
        if request.asked.matches(((key, value),)):
            continue
        if not counts[key] and not loose[key]:
            words = f"the query key {_quoted(key)} is missing, the rule wants it to be {_quoted(value)}"
        elif counts[key] > 1 or loose[key] > 1:
            words = f"the query key {_quoted(key)} occurs more than once"
        else:
            given = _quoted(values[0] if values else "")
            words = f"the query key {_quoted(key)} is {given}, the rule wants {_quoted(value)}"
        yield Difference("query", _cut("&".join(f"{key}={have}" for have in values)), _cut(takes), words)


def _by_host(policy: Policy, asked: Asked, today: date) -> Nearest | None:
    if asked.host.address is not None:
        return None
    scored = [(_likeness(rule, asked.host), rule) for rule in rules_in(policy.allow)]
    best = max((score for score, _ in scored), default=0)
    if best < 2 or _public_suffix(".".join(asked.host.name.split(".")[-best:])):
        return None  # a shared `com` or `github.io` is no likeness
    found = [Nearest(rule, differences(rule, asked, today)) for score, rule in scored if score == best]
    return min(found, key=lambda each: _far(each, asked))


def _likeness(rule: Rule, host: Host) -> int:
    """How many labels a host of the rule has in common with this one, from the right."""
    return max((_shared(pattern.name.split("."), host.name.split(".")) for pattern in rule.hosts), default=0)


def _public_suffix(name: str) -> bool:
    try:
        read_host(f"*.{name}")
    except Wrong:
        return True
    return False


def _shared(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _host_words(host: Host, rule: Rule) -> str:
    if any(pattern.wildcard and pattern.name == host.name for pattern in rule.hosts):
        return f"*.{host.name} means the names below {host.name}, not the name itself"
    if any(host.name.endswith("." + pattern.name) for pattern in rule.hosts if not pattern.wildcard):
        return f"the rule names a host above {host.name}, and a name does not include those below it"
    return f"the host is {host.name}, the rule takes {_listed([*map(str, rule.hosts)])}"


def _far(each: Nearest, asked: Asked) -> tuple[int, int, str]:
    return (len(each.differences), _path_distance(each.rule, asked), each.rule.id)


def _path_distance(rule: Rule, asked: Asked) -> int:
    if isinstance(asked, Authority) or rule.paths is None:
        return 0
    try:
        path = read_path(asked.path, keep_encoded_slash=rule.keep_encoded_slash)
    except AmbiguousPath:
        return 0
    return min(_distance(pattern, path) for pattern in rule.paths)


def _distance(pattern: PathPattern, path: Segments) -> int:
    """How many segments, of both, have no equal at the same place."""
    pairs = zip(pattern.segments, path, strict=False)
    same = sum(1 for want, have in pairs if (have != "" if want is None else want == have))
    return len(pattern.segments) + len(path) - 2 * same


def _quoted(text: str) -> str:
    return f"`{_cut(text)}`"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _MOST_PATTERNS} more" if len(texts) > _MOST_PATTERNS else ""
    return ", ".join(_cut(text) for text in texts[:_MOST_PATTERNS]) + more
