"""The difference between two policies in what they mean: every class of request on which they do not agree.

Sound by construction: both policies are asked about a request of each class, by the same function that the proxy
asks. A class is left out only where the rules that match it are the same on both sides.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product

from proxy.policy.address import Network
from proxy.policy.rules import Policy, Rule
from proxy.review.addresses import Addresses
from proxy.review.delta import Delta, delta_of
from proxy.review.effect import Asking, Budget
from proxy.review.hosts import HostClass, Sides, grouped, host_classes
from proxy.review.passing import Passing
from proxy.review.path_places import TooLarge
from proxy.review.paths import Kind as PathKind
from proxy.review.paths import PathClass
from proxy.review.queries import QueryClass
from proxy.review.regions import Endpoint, Group, Speaking, lines_of, paths_of
from proxy.review.say import cut_down, matching, meets, near, reading_of, whole


@dataclass(frozen=True, slots=True)
class Cell:
    """One class of request of a group."""

    endpoint: Endpoint
    method: str
    path: PathClass
    query: QueryClass
    day: date


@dataclass(frozen=True, slots=True)
class Found:
    """All differences at the hosts of one group. `known`: the old policy lets something pass to them."""

    group: Group
    known: bool
    cells: dict[Delta, list[Cell]]
    old_paths: frozenset[PathClass]  # those of the differing paths on which the old policy lets something pass

    @property
    def hosts(self) -> tuple[HostClass, ...]:
        return self.group.hosts


@dataclass(frozen=True, slots=True)
class Unknown:
    """Hosts about which the policies say too much to be compared. They differ in these rules, each by its id."""

    hosts: tuple[HostClass, ...]
    why: str
    old: tuple[str, ...]
    new: tuple[str, ...]


def differences(policies: Sides[Policy], addresses: Addresses, today: date) -> Iterator[Found | Unknown]:
    """Every difference from `today` on. `addresses` are cut by the networks of both policies."""
    budget = Budget()
    asking = Sides(*(Asking(policy, addresses, budget) for policy in policies.each()))
    alike = policies.old.observe == policies.new.observe and asking.old.denied == asking.new.denied
    for hosts in grouped(host_classes(policies, addresses), lambda each: _same(asking, each, addresses)):
        old, new = (_meanings(side, hosts[0]) for side in asking.each())
        if alike and old.keys() == new.keys():
            continue
        changed = Sides([old[key] for key in old.keys() - new], [new[key] for key in new.keys() - old])
        speaks = Sides(*(each.speaking(hosts[0]) for each in asking.each()))
        # While observing, an address about which no rule speaks is refused, and any other one is not.
        some = alike and bool(speaks.old.examples) == bool(speaks.new.examples)
        rules = [*changed.old, *changed.new] if some else None
        try:
            group = _group(hosts, speaks, rules, today, observe=policies.old.observe)
            cells = _differing(asking, group, rules)
            if cells:
                passing = Passing(asking.old, speaks.old, hosts[0], today)
                paths = dict.fromkeys(cell.path for found in cells.values() for cell in found)
                old_paths = frozenset(path for path in paths if passing.on(path))
                yield Found(group, bool(old_paths) or passing.anywhere(), cells, old_paths)
        except TooLarge as error:
            yield Unknown(hosts, str(error), *(tuple(sorted(rule.id for rule in side)) for side in changed.each()))


def _group(
    hosts: tuple[HostClass, ...], speaks: Sides[Speaking], changed: Sequence[Rule] | None, today: date, *, observe: bool
) -> Group:
    """The classes for some hosts: only those of what the changed rules can match, where nothing else can differ."""
    around = closer = speaks
    if changed is not None and not observe and _apart_only_where_they_match(speaks, changed):
        around, closer = (
            Sides(*(near(side, changed, by_path=by_path) for side in speaks.each())) for by_path in (True, False)
        )
    return Group(hosts, around, lines_of(closer, today), paths_of(around))


def _apart_only_where_they_match(speaks: Sides[Speaking], changed: Sequence[Rule]) -> bool:
    """Whether the changed rules are allow rules that change neither how a path is read nor how a CONNECT fares."""
    allow = {id(rule) for side in speaks.each() for rule in side.allow}
    inspected = all(rule.inspect for side in speaks.each() for rule in side.allow)
    plain = all(id(rule) in allow and not rule.http2 for rule in changed)
    return inspected and plain and reading_of(speaks.old) == reading_of(speaks.new)


def cutting(policies: Sides[Policy]) -> Addresses:
    """All addresses, cut by the networks of both policies."""
    networks: dict[Network, None] = {}
    for policy in policies.each():
        networks.update(dict.fromkeys(network for rule in policy.rules for network in rule.networks))
    return Addresses(tuple(networks))


def _same(asking: Sides[Asking], host: HostClass, addresses: Addresses) -> tuple[object, ...]:
    """What hosts have in common on which no question can tell them apart."""
    key: list[object] = [host.span is None, host.span in addresses.public, host.kind]
    for side in asking.each():
        rules = side.speaking(host)
        key += [frozenset(rule.id for rule in rules.allow), frozenset(rule.id for rule in rules.deny)]
        key += [frozenset(name for name, spec in side.policy.credentials.items() if spec.bound_to(host.host))]
        key += [host.span in side.denied]
    return tuple(key)


def _meanings(asking: Asking, host: HostClass) -> dict[object, Rule]:
    """The rules about a host, each under all that a decision can see of it; its id and place are not."""
    rules = asking.speaking(host)
    found: dict[object, Rule] = {}
    for denying, rule in (*((False, rule) for rule in rules.allow), *((True, rule) for rule in rules.deny)):
        secret = asking.secret(rule.credential, "https", host.host)
        opened = None if denying else frozenset(rule.networks)
        key = (denying, rule.endpoints, rule.methods, frozenset(rule.paths or ()), rule.paths is None, rule.query)
        more = (rule.keep_encoded_slash, rule.inspect, rule.http2, rule.trace_context, rule.expires)
        found[(key, more, rule.credential, secret, opened)] = rule
    return found


def _differing(asking: Sides[Asking], group: Group, changed: Sequence[Rule] | None) -> dict[Delta, list[Cell]]:
    """The classes on which the effects differ. With `changed`, only those that one of these rules can touch."""
    host, places = group.hosts[0], _places(asking, group)
    found: dict[Delta, list[Cell]] = defaultdict(list)
    apart = any(place.apart for place in places)
    slashes_too = reading_of(group.rules.old) == reading_of(group.rules.new)
    for path in group.paths:
        readable = path.kind is PathKind.PLAIN or (slashes_too and not whole(asking.old.policy, path))
        rules = matching(path, changed, asking.old.budget) if changed is not None and readable else None
        if rules == [] and not apart:
            continue
        sides = [(side, cut_down(side, speaks, path)) for side, speaks in _pairs(asking, group)]
        for place, query in product(places, group.lines.queries):
            endpoint, method = place.members[0]
            if not place.apart and rules is not None and not any(meets(rule, endpoint, method) for rule in rules):
                continue
            old, new = (
                side.effect(host, endpoint, method, path.asked(query.raw), place.day, policy) for side, policy in sides
            )
            if old != new:
                cells = (Cell(*member, path, query, place.day) for member in place.members)
                found[delta_of(old, new, host, asking.old)].extend(cells)
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Place:
    """Endpoints and methods that no rule about a host tells apart on a day; `apart` where their CONNECTs differ."""

    day: date
    members: tuple[tuple[Endpoint, str], ...]
    apart: bool


def _places(asking: Sides[Asking], group: Group) -> list[_Place]:
    rules = [rule for side in group.rules.each() for rule in (*side.allow, *side.deny)]
    alike: dict[tuple[object, ...], list[tuple[Endpoint, str]]] = defaultdict(list)
    for endpoint, method in product(group.lines.endpoints, group.lines.methods):
        asking.old.budget.spend(len(rules) // 4)
        meeting = tuple(number for number, rule in enumerate(rules) if meets(rule, endpoint, method))
        port = endpoint.port if endpoint.scheme == "https" else None
        alike[(port, meeting)].append((endpoint, method))
    host = group.hosts[0]
    return [
        _Place(
            day, tuple(members), members[0][0].scheme == "https" and _connects_apart(asking, host, members[0][0], day)
        )
        for members in alike.values()
        for day in group.lines.days
    ]


def _pairs(asking: Sides[Asking], group: Group) -> Iterator[tuple[Asking, Speaking]]:
    return zip(asking.each(), group.rules.each(), strict=True)


def _connects_apart(asking: Sides[Asking], host: HostClass, endpoint: Endpoint, day: date) -> bool:
    """Whether a CONNECT is answered differently, or by a tunnel, whose inside no rule is asked about."""
    if endpoint.scheme == "http":
        return False
    old, new = (each.connect(host.host, endpoint.port, day) for each in asking.each())
    answers = [(each.tunnel, each.http2, each.decision.allowed) for each in (old, new)]
    return old.tunnel or new.tunnel or answers[0] != answers[1]
