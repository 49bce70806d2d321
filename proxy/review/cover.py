"""Cover: whether a rule is made needless by another allow rule, or dead by deny rules.

Says nothing that it cannot prove: a rule that two others cover together is not found, a rule that is found is covered.
Rules are looked up by host or network and then by path, so that ten thousand of them are not compared each with each.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product

from proxy.policy.address import Network
from proxy.policy.host import HostPattern
from proxy.policy.path import PathPattern
from proxy.policy.rules import NEVER_METHODS, Rule

type _Place = HostPattern | Network

_EVERY_PATH = (PathPattern((), rest=True),)
# Of thousands of rules about one place and path, the widest stand first; a cover is among them or is not looked for.
_MOST_COMPARED = 200


def covers(wide: Rule, narrow: Rule) -> bool:
    """Whether `narrow` may be left out beside `wide`, both of them allow rules.

    Whatever `narrow` allows passes without it as well: with the same credential, to the same addresses, over the same
    HTTP versions, with the same headers, for at least as long. It may be that more passes: see `loosens`.
    """
    return (
        wide.inspect == narrow.inspect
        and wide.http2 >= narrow.http2
        and wide.trace_context >= narrow.trace_context
        and narrow.credential in (None, wide.credential)
        and (wide.expires is None or (narrow.expires is not None and narrow.expires <= wide.expires))
        and _same_or_more(wide, narrow)
        and _covers_paths(wide, narrow)
        and all(any(_contains(outer, inner) for outer in _places(wide)) for inner in _places(narrow))
    )


def loosens(wide: Rule, narrow: Rule) -> bool:
    """Whether leaving out `narrow`, which `wide` covers, can let more pass.

    The paths of `narrow` make the host one whose ambiguous paths are refused; `wide` alone may not.
    """
    if narrow.paths is None:
        return False
    return wide.paths is None or wide.keep_encoded_slash != narrow.keep_encoded_slash


def covers_path(wide: PathPattern, narrow: PathPattern) -> bool:
    """Whether every path that `narrow` matches is matched by `wide`."""
    count = len(wide.segments)
    if count > len(narrow.segments) or (not wide.rest and (narrow.rest or count != len(narrow.segments))):
        return False
    pairs = zip(wide.segments, narrow.segments, strict=False)
    return all(have != "" if want is None else have == want for want, have in pairs)


@dataclass(slots=True)
class _Tree:
    """Path patterns by segment, with the rules that they belong to."""

    below: "dict[str | None, _Tree]" = field(default_factory=dict)
    here: list[Rule] = field(default_factory=list)
    rest: list[Rule] = field(default_factory=list)

    def insert(self, pattern: PathPattern, rule: Rule) -> None:
        node = self
        for segment in pattern.segments:
            node = node.below.setdefault(segment, _Tree())
        (node.rest if pattern.rest else node.here).append(rule)

    def covering(self, pattern: PathPattern) -> Iterator[Rule]:
        """The rules that have a pattern which covers this one."""
        stack = [(self, 0)]
        while stack:
            node, depth = stack.pop()
            yield from node.rest
            if depth == len(pattern.segments):
                yield from () if pattern.rest else node.here
                continue
            segment = pattern.segments[depth]
            for key in (segment,) if segment in (None, "") else (segment, None):
                if key in node.below:
                    stack.append((node.below[key], depth + 1))


class Covers:
    """Some allow rules, in which the ones that another covers can be found."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._at: dict[_Place, _Tree] = defaultdict(_Tree)
        every = sorted(rules, key=_widest_first)
        self._lengths = frozenset((net.version, net.prefixlen) for rule in every for net in rule.networks)
        for rule in every:
            for place, pattern in product(_places(rule), rule.paths or _EVERY_PATH):
                self._at[place].insert(pattern, rule)

    def of(self, rule: Rule, own: frozenset[str]) -> Rule | None:
        """A rule that makes this one needless. Of two in `own` that mean the same, the smaller id stays."""
        first = next(iter(_places(rule)))
        pattern = (rule.paths or _EVERY_PATH)[0]
        found = (
            wide
            for place in _above(first, self._lengths)
            if place in self._at
            for wide in self._at[place].covering(pattern)
        )
        for wide in islice(found, _MOST_COMPARED):
            if wide.id == rule.id or not covers(wide, rule):
                continue
            if wide.id in own and wide.id > rule.id and covers(rule, wide):
                continue
            return wide
        return None


class Denials:
    """Some deny rules, under which dead allow rules can be found."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._all: dict[_Place, list[Rule]] = defaultdict(list)
        self._at: dict[_Place, _Tree] = defaultdict(_Tree)
        every = sorted(rules, key=_widest_first)
        self._lengths = frozenset((net.version, net.prefixlen) for rule in every for net in rule.networks)
        for rule in every:
            for place in _places(rule):
                self._all[place].append(rule)
                for pattern in rule.paths or _EVERY_PATH:
                    self._at[place].insert(_folded(pattern), rule)

    def of(self, rule: Rule) -> tuple[Rule, ...]:
        """The deny rules under which this allow rule allows nothing; none if it may allow something."""
        found: dict[str, Rule] = {}
        for place, pattern in product(_places(rule), (rule.paths or _EVERY_PATH) if rule.inspect else _EVERY_PATH):
            denies = self._over_path(rule, place, pattern) if rule.inspect else self._over_tunnel(rule, place)
            if not denies:
                return ()
            found.update((deny.id, deny) for deny in denies)
        return tuple(found.values())

    def _over_path(self, rule: Rule, place: _Place, pattern: PathPattern) -> list[Rule]:
        folded = _folded(pattern)
        forms = [folded]
        if not folded.rest and folded.segments[-1:] == ("",):  # a deny rule is blind to one slash at the end
            forms.append(PathPattern(folded.segments[:-1]))
        for above in _above(place, self._lengths):
            if above in self._at:
                for form in forms:
                    for deny in islice(self._at[above].covering(form), _MOST_COMPARED):
                        if _same_or_more(deny, rule):
                            return [deny]
        return []

    def _over_tunnel(self, rule: Rule, place: _Place) -> list[Rule]:
        """The deny rules that close every port of a tunnel: whatever else they name, `decide` closes it."""
        found = []
        for _, port in rule.endpoints or ():
            near = (deny for above in _above(place, self._lengths) for deny in self._all.get(above, ()))
            deny = next((deny for deny in near if deny.opens_port(port)), None)
            if deny is None:
                return []
            found.append(deny)
        return found


def _same_or_more(wide: Rule, narrow: Rule) -> bool:
    """Whether endpoints, methods and query of `wide` hold all those of `narrow`."""
    if wide.endpoints is not None and (narrow.endpoints is None or not narrow.endpoints <= wide.endpoints):
        return False
    if wide.methods is not None and (narrow.methods is None or not narrow.methods - NEVER_METHODS <= wide.methods):
        return False
    return not wide.query or set(wide.query) <= set(narrow.query)


def _covers_paths(wide: Rule, narrow: Rule) -> bool:
    # A path with an encoded slash is read, or left in doubt, by whether a rule has paths and keeps such slashes.
    if wide.paths is None:
        return narrow.paths is None or not narrow.keep_encoded_slash
    if (narrow.paths is None or narrow.keep_encoded_slash) and not wide.keep_encoded_slash:
        return False
    return all(any(covers_path(outer, inner) for outer in wide.paths) for inner in narrow.paths or _EVERY_PATH)


def _places(rule: Rule) -> tuple[_Place, ...]:
    return (*rule.hosts, *rule.networks)


def _contains(outer: _Place, inner: _Place) -> bool:
    if isinstance(outer, HostPattern) or isinstance(inner, HostPattern):
        return isinstance(outer, HostPattern) and isinstance(inner, HostPattern) and outer.covers(inner)
    return outer in _above(inner, frozenset({(outer.version, outer.prefixlen)}))


def _above(place: _Place, lengths: frozenset[tuple[int, int]]) -> Iterator[_Place]:
    """Everything that contains the place: itself, wildcards over a name, or networks of the given lengths."""
    if not isinstance(place, HostPattern):
        for version, length in lengths:
            if version == place.version and length <= place.prefixlen:
                yield place.supernet(new_prefix=length)
        return
    yield place
    name = place.name
    while (dot := name.find(".")) >= 0:
        name = name[dot + 1 :]
        yield HostPattern(name, wildcard=True)


def _folded(pattern: PathPattern) -> PathPattern:
    """As `PathPattern.denies` folds: a deny rule is blind to case."""
    return PathPattern(tuple(s if s is None else s.casefold() for s in pattern.segments), pattern.rest)


def _widest_first(rule: Rule) -> tuple[int, bool, int, str]:
    return (len(rule.query), rule.methods is not None, -len(rule.methods or ()), rule.id)
