"""The readings of a path that rules ask for, each made when the first of them asks, and whether one can be trusted."""

from functools import cached_property

from proxy.policy.path import AmbiguousPath, Segments, blind_readings, read_path, split_encoded_slashes
from proxy.policy.request import Request
from proxy.policy.rules import Rule


class Reading:
    """The readings of one request's path, made when a rule first asks."""

    def __init__(self, request: Request, denying: tuple[Rule, ...], allowing: tuple[Rule, ...]) -> None:
        self._path = request.path
        self._denying, self._allowing = denying, allowing

    @cached_property
    def strict(self) -> Segments | None:
        try:
            return read_path(self._path)
        except AmbiguousPath:
            return None

    @cached_property
    def kept(self) -> Segments | None:
        if self.strict is not None:
            return self.strict
        try:
            return read_path(self._path, keep_encoded_slash=True)
        except AmbiguousPath:
            return None

    @cached_property
    def every(self) -> tuple[Segments, ...]:
        """All readings that some server could have: what a deny rule is held against."""
        if self.strict is not None:
            return (self.strict,)
        return () if self.kept is None else (self.kept, split_encoded_slashes(self._path))

    @cached_property
    def blind(self) -> tuple[Segments, ...]:
        """The same as deny patterns see them; folded once, however many rules there are."""
        return tuple(folded for segments in self.every for folded in blind_readings(segments))

    @property
    def ambiguous(self) -> bool:
        """Whether the path cannot be judged, though some rule about the host speaks of paths."""
        if self.strict is not None:
            return False
        allowing = [rule for rule in self._allowing if rule.paths is not None]
        if not allowing and all(rule.paths is None for rule in self._denying):
            return False
        kept_by_all = all(rule.keep_encoded_slash for rule in allowing)
        return self.kept is None or not kept_by_all

    def ambiguous_for(self, matching: list[Rule]) -> bool:
        """As `ambiguous`, where a matching rule that keeps encoded slashes has settled their meaning."""
        if not self.ambiguous:
            return False
        return self.kept is None or not any(rule.paths is not None and rule.keep_encoded_slash for rule in matching)
