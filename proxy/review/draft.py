"""From requests to draft rules: one for each host, port and scheme, reading and writing apart."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from proxy.policy.host import Host
from proxy.policy.overlap import overlap
from proxy.policy.path import PathPattern, Segments
from proxy.policy.rules import READ_METHODS, Policy, Rule
from proxy.review.gather import CREDENTIAL, Ask, Gathered
from proxy.review.proposal import Proposed, Tally
from proxy.review.risky import READING_ENDINGS
from proxy.review.second_look import provider_at
from proxy.review.shapes import fold, generalise
from proxy.review.snippet import path_text

type _Paths = dict[Segments, Tally]

MAX_PATTERNS = 1000  # paths of one rule; nobody reads more
_CROWDED = f"it would make a rule of more than {MAX_PATTERNS} paths, which nobody reads; write it with `*` or `**`"
_UNNAMED = "a path that no rule can name: servers differ in how they read it, or it holds a star"
_ANY_PATH = f"every path: among those seen was {_UNNAMED}"
_EXACT = "each path is named alone: a deny rule speaks of others of the same form"


def draft(gathered: Gathered, current: Policy) -> Iterator[Proposed]:
    """Rules without names and credentials, in the order of hosts. `current` is the policy that they would join.

    What no rule can allow without reaching further than was seen is left out of `gathered.asks`.
    """
    written = {ask.host for ask in gathered.asks if ask.method not in READ_METHODS}
    pathless = _pathless(gathered, current, written)
    places: dict[tuple[Host, int, str], list[Ask]] = defaultdict(list)
    for ask in gathered.asks:
        places[ask.host, ask.port, ask.scheme].append(ask)
    for (host, port, scheme), asks in sorted(places.items(), key=lambda item: (item[0][0].name, *item[0][1:])):
        if not scheme:
            tally = replace(gathered.asks[asks[0]])
            yield Proposed(id="", host=host, port=port, tunnel=True, tally=tally)
            continue
        if host in pathless:
            tally = _sum(gathered.asks[ask] for ask in asks)
            yield Proposed(id="", host=host, port=port, scheme=scheme, tally=tally, look_again=[_ANY_PATH])
            continue
        for (methods, _), paths in _by_methods(asks, gathered).items():
            for keep, group in _bundles(paths):
                bare = Proposed(
                    id="", host=host, port=port, scheme=scheme, methods=methods, keep=keep, tally=_sum(group.values())
                )
                _fill(bare, group, current, gathered, foldable=not methods and host not in written)
                if len(bare.patterns) > MAX_PATTERNS:
                    for ask in asks:
                        if ask.segments in group and ask.method in (methods or READ_METHODS):
                            gathered.drop(ask, _CROWDED)
                    continue
                bare.look_again += sorted(_notes(bare, group, gathered))
                yield bare


def _pathless(gathered: Gathered, current: Policy, written: set[Host]) -> set[Host]:
    """Hosts of which no rule may name paths, so that what no path pattern matches can pass: hosts that were only read.

    Where something was written, a deny rule spoke, or a key is due, such requests are left out instead.
    """
    found: set[Host] = set()
    for ask in [ask for ask in gathered.asks if ask.raw]:
        rules = (*current.allow.speaking_of(ask.host), *current.deny.speaking_of(ask.host))
        careful = ask.host in written or ask.host in gathered.denied or provider_at(ask.host) is not None
        if careful or any(rule.paths is not None or rule.credential is not None for rule in rules):
            gathered.drop(ask, _UNNAMED)
        else:
            found.add(ask.host)
    return found


def _by_methods(asks: list[Ask], gathered: Gathered) -> Mapping[tuple[tuple[str, ...], bool], _Paths]:
    """Paths by the methods they were seen with. All reading methods are one, `()`; others are never mixed with them,
    nor with each other: what was seen with POST alone gets no DELETE. What only looks like writing stands apart, too.
    """
    by_path: dict[tuple[Segments, bool], list[Ask]] = defaultdict(list)
    for ask in asks:
        by_path[ask.segments, ask.method in READ_METHODS].append(ask)
    groups: dict[tuple[tuple[str, ...], bool], _Paths] = defaultdict(dict)
    for (segments, reading), same in by_path.items():
        methods = () if reading else tuple(sorted(ask.method for ask in same))
        fetch = methods == ("POST",) and any(segments[-len(end) :] == end for end in READING_ENDINGS)
        groups[methods, fetch][segments] = _sum(gathered.asks[ask] for ask in same)
    return dict(sorted(groups.items()))


def _bundles(paths: _Paths) -> Iterator[tuple[bool, _Paths]]:
    """The paths of one rule, or of two: `encoded_slash: keep` lets no `*` of other paths match an encoded slash."""
    kept = {segments: tally for segments, tally in paths.items() if any("/" in segment for segment in segments)}
    strict = {segments: tally for segments, tally in paths.items() if segments not in kept}
    if kept and not any(None in pattern.segments for group in (strict, kept) for pattern in generalise(group)):
        yield True, paths
        return
    yield from ((keep, group) for keep, group in ((False, strict), (True, kept)) if group)


def _fill(rule: Proposed, paths: _Paths, current: Policy, gathered: Gathered, *, foldable: bool) -> None:
    """Give the rule its patterns: general ones, unless a deny rule speaks, or spoke, of what they add."""
    rule.patterns = generalise(paths)
    folded: dict[PathPattern, int] = {}
    if foldable:
        rule.patterns, folded = fold(rule.patterns)
    wide = [pattern for pattern in rule.patterns if pattern.rest or None in pattern.segments]
    denied = [path for method, path in gathered.denied.get(rule.host, ()) if method in (rule.methods or READ_METHODS)]
    if wide and (
        any(path and pattern.denies(path) for path in denied for pattern in wide)
        or _meets_deny(rule.rule(), current.deny.speaking_of(rule.host))
    ):
        rule.patterns = sorted((PathPattern(segments) for segments in paths), key=path_text)
        rule.look_again.append(_EXACT)
        return
    rule.look_again += [f"{path_text(one)} stands for {count} different paths" for one, count in folded.items()]


def _meets_deny(rule: Rule, denying: Iterable[Rule]) -> bool:
    """Whether a deny rule could match something that the rule matches; blind to case, as deny rules are."""
    ours = _folded(rule)
    for deny in denying:
        if deny.paths is None:
            continue  # it denies by method or port, whatever the path: what was seen is not what it means
        if rule.keep_encoded_slash or overlap(ours, _folded(deny)):
            return True
    return False


def _folded(rule: Rule) -> Rule:
    """The rule with its paths in one case, and each without its trailing slash too."""
    paths = []
    for path in rule.paths or ():
        segments = tuple(None if segment is None else segment.casefold() for segment in path.segments)
        paths.append(PathPattern(segments, path.rest))
        if segments and segments[-1] == "":
            paths.append(PathPattern(segments[:-1], path.rest))
    return replace(rule, paths=tuple(paths), query=())


def _notes(rule: Proposed, paths: _Paths, gathered: Gathered) -> set[str]:
    methods = rule.methods or READ_METHODS
    found: set[str] = set()
    for segments in paths:
        for method in methods:
            found |= gathered.notes.get(Ask(rule.host, rule.port, rule.scheme, method, segments), set())
    return {note for note in found if not note.startswith(CREDENTIAL)} | {
        f"the credential {note.removeprefix(CREDENTIAL)} was sent here" for note in found if note.startswith(CREDENTIAL)
    }


def _sum(tallies: Iterable[Tally]) -> Tally:
    first, *others = sorted(tallies, key=lambda tally: tally.first)
    total = replace(first)
    for other in others:
        total.add(other)
    return total
