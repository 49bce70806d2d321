"""Whether a policy lets anything at all pass to a host, or on a path: what says that something is new."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product

from proxy.policy.rules import Rule
from proxy.review.effect import Asking
from proxy.review.hosts import HostClass, Sides
from proxy.review.paths import PathClass
from proxy.review.regions import Lines, Speaking, lines_of, paths_of
from proxy.review.say import cut_down, matching, meets, near, whole


@dataclass(slots=True)
class Passing:
    """What one policy lets pass to one host from a day on."""

    asking: Asking
    speaks: Speaking
    host: HostClass
    today: date
    _lines: dict[tuple[str, ...], Lines] = field(default_factory=dict)

    def anywhere(self) -> bool:
        """Raises `TooLarge`."""
        for rules in self._rules():
            around = Sides(near(self.speaks, rules, by_path=True), Speaking((), ()))
            if any(self._on(path, rules) for path in paths_of(around)):
                return True
        return False

    def on(self, path: PathClass) -> bool:
        """Raises `TooLarge`."""
        return any(self._on(path, rules) for rules in self._rules())

    def _rules(self) -> Iterator[Sequence[Rule]]:
        """Rules that together let pass what one of them matches; while observing, whatever is asked."""
        if self.asking.policy.observe:
            yield self.speaks.allow
        else:
            yield from ((rule,) for rule in self.speaks.allow)

    def _on(self, path: PathClass, rules: Sequence[Rule]) -> bool:
        observe = self.asking.policy.observe
        if not observe and not whole(self.asking.policy, path) and not matching(path, rules, self.asking.budget):
            return False
        key = tuple(rule.id for rule in rules)
        if key not in self._lines:
            around = self.speaks if observe else near(self.speaks, rules)
            self._lines[key] = lines_of(Sides(around, Speaking((), ())), self.today)
        lines, policy = self._lines[key], cut_down(self.asking, self.speaks, path)
        return any(
            self.asking.effect(self.host, endpoint, method, path.asked(query.raw), day, policy).passes
            for endpoint, method in product(lines.endpoints, lines.methods)
            if observe or any(meets(rule, endpoint, method) for rule in rules)
            for query, day in product(lines.queries, lines.days)
        )
