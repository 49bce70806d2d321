"""Skimming: the few members of a large JSON text that metering reads, in constant memory.

It skips and cuts out, and leaves reading what it cut out to `json`. What is not JSON may pass for JSON here: a member
that stands where it should is taken for what it is.
"""

import json
import re
from collections.abc import Callable

from proxy import limits

type Member = dict[str, object]

# Members that are kept, and objects that are looked into for such members.
KEPT = frozenset(
    (
        *("id", "type", "object", "model", "modelVersion", "service_tier"),
        *("usage", "usageMetadata", "done", "prompt_eval_count", "eval_count"),
    )
)
ENTERED = frozenset(("message", "response", "x_groq"))
_MAX_KEY = 64

_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_MARK = re.compile(rb'["{}\[\]:,]')  # where keys are told from values
_BRACKET = re.compile(rb'["{}\[\]]')  # where they are not
_SKIPPED = re.compile(rb'[{}\[\]]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?P<last>\\?"?)', re.DOTALL)


class Skimmer:
    """Takes a JSON text in any pieces. `emit` gets what is kept of the object on top, or of each in a list on top."""

    def __init__(self, emit: Callable[[Member], None]) -> None:
        self._emit = emit
        self._depth = 0  # containers that are open
        self._lists = 0  # 1 inside a list on top
        self._tracked = 0  # how many of the innermost open ones are objects that are looked into: none, one or two
        self._path: list[str] = []  # the key at which each of those stands
        self._is_key = False
        self._key: bytearray | None = None
        self._cut: bytearray | None = None
        self._in_string = self._escaped = False
        self._found: dict[tuple[str, ...], bytes] = {}
        self._begun = False

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._in_string:
                at = self._string(data, at)
            elif self._tracked and not self._looking:
                at = self._skip(data, at)
            else:
                at = self._structure(data, at)

    def end(self) -> bool:
        """Emit what an object held that did not end; whether the text was whole."""
        whole = self._begun and not self._depth and not self._in_string
        if self._tracked:
            self._flush()
        return whole

    def _string(self, data: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._keep(data[at : at + 1])
            return at + 1
        match = _STRING.match(data, at)
        end = len(data) if match is None else match.end()
        self._keep(data[at:end])
        if end < len(data):
            self._keep(data[end : end + 1])
            if data[end] == 0x22:
                self._in_string = False
                self._end_key()
            else:
                self._escaped = True  # the piece ends in the middle of an escape
        return end + 1

    def _skip(self, data: bytes, start: int) -> int:
        """Pass over what lies inside a value: only its end matters. Most of a large answer is that."""
        depth, floor, end = self._depth, self._lists + self._tracked, len(data)
        for match in _SKIPPED.finditer(data, start):
            mark = data[match.start()]
            if mark == 0x22:
                if match["last"] != b'"':  # the piece ends in the string, perhaps in the middle of an escape
                    self._in_string, self._escaped = True, match["last"] == b"\\"
            elif mark in b"{[":
                depth += 1
            else:
                depth -= 1
                if depth == floor:
                    end = match.end()
                    break
        self._depth = depth
        self._keep(data[start:end])
        return end

    def _structure(self, data: bytes, at: int) -> int:
        match = (_MARK if self._looking else _BRACKET).search(data, at)
        if match is None:
            self._keep(data[at:])
            return len(data)
        end, mark = match.end(), match[0]
        if mark == b'"':
            self._keep(data[at:end])
            self._in_string = True
            if self._looking and self._is_key:
                self._key = bytearray(b'"')
        else:
            self._mark(data[at : end - 1], mark)
        return end

    @property
    def _looking(self) -> bool:
        """Whether the innermost open container is an object that is looked into."""
        return self._tracked > 0 and self._depth == self._lists + self._tracked

    def _mark(self, before: bytes, mark: bytes) -> None:
        looking = self._looking
        if mark in b"{[":
            self._keep(before + mark)
            self._open(mark, looking=looking)
        elif mark in b"}]":
            if looking:
                self._keep(before)
                self._close()
            else:
                self._keep(before + mark)
            self._depth = max(0, self._depth - 1)
        elif mark == b":" and self._is_key:
            self._is_key = False
            if self._path[-1] in KEPT:
                self._cut = bytearray()
        elif mark == b",":
            self._keep(before)
            self._end_value()
            self._is_key = True

    def _open(self, mark: bytes, *, looking: bool) -> None:
        self._begun = True
        if self._depth == 0:
            self._lists = int(mark == b"[")
        on_top = not self._tracked and mark == b"{" and self._depth == self._lists
        entered = looking and self._tracked == 1 and mark == b"{" and not self._is_key and self._path[0] in ENTERED
        self._depth += 1
        if on_top or entered:
            self._tracked += 1
            self._path.append("")
            self._is_key = True

    def _close(self) -> None:
        self._end_value()
        self._tracked -= 1
        self._path.pop()
        self._is_key = False
        if not self._tracked:
            self._flush()

    def _end_key(self) -> None:
        if self._key is None:
            return
        key, self._key = bytes(self._key), None
        try:
            self._path[-1] = str(json.loads(key)) if len(key) <= _MAX_KEY else ""
        except ValueError:
            self._path[-1] = ""
        for path in [path for path in self._found if path[: self._tracked] == tuple(self._path)]:
            del self._found[path]  # the same key again: the last one counts, as in `json`

    def _keep(self, data: bytes) -> None:
        if self._key is not None and len(self._key) <= _MAX_KEY:
            self._key += data
        if self._cut is not None and len(self._cut) <= limits.MAX_METERED_VALUE:
            self._cut += data

    def _end_value(self) -> None:
        if self._cut is not None and len(self._cut) <= limits.MAX_METERED_VALUE:
            self._found[tuple(self._path)] = bytes(self._cut)
        self._cut = None

    def _flush(self) -> None:
        found, self._found = self._found, {}
        self._tracked, self._cut, self._key = 0, None, None
        self._path.clear()
        if member := _assembled(found):
            self._emit(member)


def _assembled(found: dict[tuple[str, ...], bytes]) -> Member:
    """The members that were cut out, each where it stood."""
    made: Member = {}
    for path, text in found.items():
        try:
            value = json.loads(text.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        within = made if len(path) == 1 else made.setdefault(path[0], {})
        if isinstance(within, dict):
            within[path[-1]] = value
    return made
