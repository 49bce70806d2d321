"""The difference between two policies, or two sets of them, as a reviewer reads it: few changes, with their marks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import product

from proxy.policy.rules import Policy, Rule
from proxy.review.addresses import Addresses
from proxy.review.boxes import Box, boxes_of, day_text, endpoint_texts, method_texts
from proxy.review.delta import Delta, Kind
from proxy.review.diff import Found, Unknown, cutting, differences
from proxy.review.hosts import HostClass, HostKind, Sides, host_classes, host_texts
from proxy.review.marks import WIDENING, Mark, marks_of
from proxy.review.notes import notes_of
from proxy.review.path_terms import terms_of_paths, whole_path
from proxy.review.paths import PathClass
from proxy.review.queries import QueryClass, terms_of_queries, whole_query
from proxy.review.wording import Region, Wording


@dataclass(frozen=True, slots=True)
class Change:
    """Some requests for which the same changed. No `paths` and no `queries` mean any.

    `but` and `queries_but` are what of `paths` and `queries` is not meant. `days` is empty for from now on. `gained`
    and `lost` are the networks that a name may resolve into now, or no longer. For what is too complex to be compared,
    `why` says so, `delta` is None, and `rules` are the ids of the rules that differ.
    """

    kind: Kind
    delta: Delta | None = None
    marks: tuple[Mark, ...] = ()
    endpoints: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    queries_but: tuple[str, ...] = ()
    days: str = ""
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    why: str = ""
    rules: tuple[str, ...] = ()

    @property
    def widening(self) -> bool:
        """Whether something can happen that could not happen before, as far as is known."""
        if self.kind in (Kind.ALLOWED, Kind.NOT_COMPARED):
            return True
        return self.kind is Kind.CHANGED and (bool(self.gained) or not WIDENING.isdisjoint(self.marks))


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What became of the policy of one name. `old` or `new` is None for a policy that is new or gone.

    `notes` are differences in what is not a request: the mode, and where credentials come from and go.
    """

    name: str
    old: Policy | None
    new: Policy | None
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed" if self.changes or self.notes else "unchanged"

    @property
    def widening(self) -> bool:
        return any(change.widening for change in self.changes)

    def rule(self, rule_id: str | None, *, new: bool) -> Rule | None:
        policy = self.new if new else self.old
        rules = () if policy is None else policy.rules
        return next((rule for rule in rules if rule.id == rule_id), None)


def compare(old: Policy, new: Policy, today: date) -> tuple[Change, ...]:
    """The difference in meaning between two policies from a day on; empty if there is none."""
    policies = Sides(old, new)
    addresses = cutting(policies)
    merged: dict[Change, list[HostClass]] = defaultdict(list)
    for found in differences(policies, addresses, today):
        for change in _changes(found, addresses):
            merged[change] += found.hosts
    named = [each for each in host_classes(policies, addresses) if each.kind in (HostKind.EXACT, HostKind.WILDCARD)]
    changes = [replace(change, hosts=host_texts(hosts, named, addresses)) for change, hosts in merged.items()]
    order = list(Kind)
    return tuple(sorted(changes, key=lambda each: (order.index(each.kind), each.hosts, each.paths, each.methods)))


def _changes(found: Found | Unknown, addresses: Addresses) -> Iterator[Change]:
    """The changes at some hosts, which are left out."""
    if isinstance(found, Unknown):
        yield Change(Kind.NOT_COMPARED, why=found.why, rules=tuple(dict.fromkeys((*found.old, *found.new))))
        return
    lines = found.group.lines
    paths = Wording(found.group.paths, terms_of_paths(found.group.paths), whole_path)
    queries = Wording(lines.queries, terms_of_queries(lines.queries), whole_query)
    for delta, cells in found.cells.items():
        for box in boxes_of(cells):
            for path, query in product(paths.regions(box.paths), queries.regions(box.queries)):
                yield _change(found, delta, replace(box, paths=path.members), (path, query), addresses)


def compare_all(old: Sequence[Policy], new: Sequence[Policy], today: date) -> tuple[PolicyDiff, ...]:
    """The difference between two sets of policies, paired by name."""
    before, after = ({policy.name: policy for policy in policies} for policies in (old, new))
    return tuple(_pair(name, before.get(name), after.get(name), today) for name in sorted(before.keys() | after))


def compare_files(old: Policy, new: Policy, today: date) -> PolicyDiff:
    """The difference between two policies that stand for each other, whatever their names."""
    return _pair(new.name, old, new, today)


def _pair(name: str, old: Policy | None, new: Policy | None, today: date) -> PolicyDiff:
    # Where there is no policy, everything is denied: what a policy without rules means.
    changes = compare(old or Policy(), new or Policy(), today)
    if old is None or new is None:  # that a deny rule is new says nothing where all was denied, nor that it is gone
        return PolicyDiff(
            name, old, new, tuple(each for each in changes if each.kind not in (Kind.DENIED, Kind.UNDENIED))
        )
    return PolicyDiff(name, old, new, changes, notes_of(old, new))


def _change(
    found: Found, delta: Delta, box: Box, regions: tuple[Region[PathClass], Region[QueryClass]], addresses: Addresses
) -> Change:
    path, query = regions
    return Change(
        kind=delta.kind,
        delta=delta,
        marks=marks_of(found, delta, box, addresses),
        endpoints=endpoint_texts(found.group, box),
        methods=method_texts(found.group, box),
        paths=path.terms,
        but=path.but,
        queries=query.terms,
        queries_but=query.but,
        days=day_text(found.group, box),
        gained=addresses.texts(delta.gained),
        lost=addresses.texts(delta.lost),
    )
