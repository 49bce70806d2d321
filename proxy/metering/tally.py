"""What one exchange used, gathered from the messages of its answer: parsed JSON objects, in their order."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.metering.counts import FIELDS, FORMS, Implausible, at, cost_of, counts_of, normalised
from proxy.metering.services import Call

type Message = Mapping[str, Any]

# A model's name or a tier, as it may stand in a log: what is no such name is left out.
_NAME = re.compile(r"[\x21-\x7e]{1,128}")
_REASONING_APART = frozenset(("x-ai",))
# What the provider charged, in US dollars (openrouter.ai, "Usage accounting"; docs.perplexity.ai, "Pricing").
_COST = {"openrouter": ("cost",), "perplexity": ("cost", "total_cost")}


@dataclass(frozen=True, slots=True)
class _Sum:
    """The numbers of some answers."""

    answers: int = 0
    fields: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(FIELDS))
    raw: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    tiers: frozenset[str | None] = frozenset()

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum(
            self.answers + other.answers,
            {name: _added(self.fields[name], other.fields[name]) for name in FIELDS},
            {key: self.raw.get(key, 0) + other.raw.get(key, 0) for key in sorted({*self.raw, *other.raw})},
            _added(self.cost, other.cost),
            self.tiers | other.tiers,
        )


class Tally:
    """The numbers of an answer; of a WebSocket, their sum over all of its answers.

    Within an answer a later report takes the place of an earlier one and is never added to it. `implausible` says that
    an answer was left out for its numbers.
    """

    def __init__(self, call: Call, hide: Callable[[bytes], bytes]) -> None:
        self._call, self._form, self._hide = call, FORMS[call.api], hide
        self._models: list[str] = []
        self._sum = _Sum()
        self._last = ""  # the id of the last answer that was added
        self._counts: dict[str, int] = {}
        self._cost: float | None = None
        self._tier: str | None = None
        self._settled = self._bad = False
        self.implausible = False

    def model(self, name: object) -> None:
        """Note which model answers. In one answer the last word counts."""
        name = self._name(name)
        if name is None or name in self._models:
            return
        if self._sum.answers:
            self._models = [self._models[0], name] if self._models else [name]
        else:
            self._models = [name]

    def tier(self, name: object) -> None:
        """Note how fast and at which price the answer was given."""
        self._tier = self._name(name) or self._tier

    def usage(self, usage: object, *, merge: bool = False) -> None:
        """Note a usage object: in the place of the last, or (`merge`) each of its numbers in the place of the last."""
        if not isinstance(usage, dict) or self._bad:
            return
        try:
            counts = counts_of(self._form, usage)
            path = _COST.get(self._call.provider)
            # With a key of the user's own, OpenRouter tells its fee and not the price.
            if path is not None and usage.get("is_byok") is not True:
                self._cost = cost_of(at(usage, path))
        except Implausible:
            self._counts, self.implausible, self._bad = {}, True, True
            return
        self._counts = {**self._counts, **counts} if merge else counts

    def settle(self, answer: object = "") -> None:
        """The numbers are the last ones of their answer. On a WebSocket the next answer has numbers of its own."""
        self._settled = True
        if not self._call.websocket:
            return
        if not answer or answer != self._last:
            self._sum = self._sum.plus(self._open())
        self._last = answer[:128] if isinstance(answer, str) else ""
        self._counts, self._cost, self._settled, self._bad = {}, None, False, False

    def report(self) -> tuple[dict[str, object], bool]:
        """What is known, as fields of the audit event, and whether its answer is over."""
        total = self._sum.plus(self._open())
        model = self._models[0] if self._models else self._name(self._call.model)
        fields: dict[str, object] = {
            "model": model if len(self._models) < 2 else None,
            "answers": total.answers,
            **total.fields,
            "tier": next(iter(total.tiers), None) if len(total.tiers) < 2 else "mixed",
            "cost_usd": total.cost,
            "raw": dict(total.raw) or None,
        }
        return fields, self._settled or not self._counts

    def _open(self) -> _Sum:
        """The numbers of the answer that is under way; none if they cannot be true."""
        if not self._counts:
            return _Sum()
        try:
            made = normalised(self._form, self._counts, reasoning_apart=self._call.provider in _REASONING_APART)
        except Implausible:
            self.implausible = True
            return _Sum()
        return _Sum(int(self._settled), made, self._counts, self._cost, frozenset((self._tier,)))

    def _name(self, name: object) -> str | None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return None
        return self._hide(name.encode()).decode()


def _added[Number: (int, float)](one: Number | None, other: Number | None) -> Number | None:
    return other if one is None else one if other is None else one + other
