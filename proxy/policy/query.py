"""Queries: their pairs in every way that a server could split them, and what conditions say of them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from urllib.parse import unquote

from proxy.policy.spelling import folded_name, folded_names

type Pair = tuple[str, str]

# With these some frameworks and Google's APIs replace the method: Symfony, Laravel and Express's method-override;
# cloud.google.com, "System parameters".
_METHOD_KEYS = folded_names(
    "_method $httpMethod X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Tunneled-Method"
)
# The same to some APIs, a word like any other to most: Facebook's Graph API, Restlet's TunnelService.
_METHOD_WORDS = folded_names("method http_method")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_NO_LETTERS = re.compile(r"[^A-Z]+")
_SHORT = 64  # characters of a value that could be a method
_COMMON = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "TRACK", "CONNECT"})
# Without one of these in it, no key of a raw query can be one of them.
_MAY_NAME_METHOD = re.compile(r"method|(?:^|[&;])[^=&;]*%", re.IGNORECASE)
_ESCAPE = re.compile(r"%u([0-9A-Fa-f]{4})")


class Query:
    """One raw query, without its question mark. What it costs to ask does not depend on its length."""

    def __init__(self, raw: str) -> None:
        self._raw = raw

    @cached_property
    def _readings(self) -> "tuple[_Reading, ...]":
        # Some servers split at `;` too (HTML 4.01 appendix B.2.2).
        ways = ("&", "&;") if ";" in self._raw else ("&",)
        return tuple(_Reading(read_query(self._raw, separators)) for separators in ways)

    @property
    def keys(self) -> tuple[str, ...]:
        """The decoded keys, split at `&` alone, each once, in the order of their first occurrence."""
        return tuple(dict.fromkeys(key for key, _ in self._readings[0].pairs)) if self._raw else ()

    @property
    def methods(self) -> frozenset[str]:
        """The methods that the query names for a server to take in place of the request's."""
        return frozenset(method for reading in self._readings for method in reading.methods())

    @property
    def unclear_method(self) -> bool:
        """Whether the query names a method, and servers that clean up what they read do not agree on which."""
        return any(reading.unclear_method for reading in self._readings)

    def matches(self, wanted: tuple[Pair, ...]) -> bool:
        """Whether each wanted key occurs exactly once with its value, however a server splits the query.

        A key that some server takes for a wanted one (`state[]`, `State`, ` state`) counts as another occurrence of it.
        """
        return all(reading.has_exactly(wanted) for reading in self._readings)

    def denied(self, wanted: tuple[Pair, ...]) -> bool:
        """As `matches`, for deny rules: any occurrence counts, so that a second one cannot hide it."""
        return any(reading.has(wanted) for reading in self._readings)


class _Reading:
    """The pairs of a query, split in one way. A key that folds to nothing could be any."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs

    @cached_property
    def _exact(self) -> frozenset[Pair]:
        return frozenset(self.pairs)

    @cached_property
    def _named(self) -> list[Pair]:
        return [(folded_name(key), value) for key, value in self.pairs]

    @cached_property
    def _folded(self) -> frozenset[Pair]:
        return frozenset(self._named).union((key, _ESCAPE.sub(_unescaped, value)) for key, value in self._named)

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(key for key, _ in self._named)

    def methods(self) -> Iterator[str]:
        for key, value in self._folded:
            if key in _METHOD_KEYS:
                if _METHOD.fullmatch(method := value.strip().upper()):
                    yield method
            elif not key or key in _METHOD_WORDS:
                if (method := _letters(value)) in _COMMON:
                    yield method

    @property
    def unclear_method(self) -> bool:
        values = [value.strip().upper() for key, value in self._folded if key in _METHOD_KEYS]
        return any(value and not _METHOD.fullmatch(value) for value in values)

    def has_exactly(self, wanted: tuple[Pair, ...]) -> bool:
        return not self._counts[""] and all(
            self._counts[folded_name(key)] == 1 and (key, value) in self._exact for key, value in wanted
        )

    def has(self, wanted: tuple[Pair, ...]) -> bool:
        there = self._folded
        return all((folded_name(key), value) in there or ("", value) in there for key, value in wanted)


def read_query(raw: str, separators: str) -> list[Pair]:
    """Decode `k=v` pairs, split at any of `separators` (form encoding, `+` is a space)."""
    first, others = separators[0], separators[1:]
    for other in others:
        raw = raw.replace(other, first)
    pairs = [part.partition("=") for part in raw.split(first) if part]
    return [(_decode(key), _decode(value)) for key, _, value in pairs]


def may_name_method(raw: str) -> bool:
    """Whether it is worth to read the query for `Query.methods`: a quick look that errs on one side."""
    return _MAY_NAME_METHOD.search(raw) is not None


def _decode(text: str) -> str:
    return unquote(text.replace("+", " "), errors="replace")


def _letters(value: str) -> str:
    """A value as servers may take it that clean up what they read: its capital letters, up to a C string's end."""
    return _NO_LETTERS.sub("", unicodedata.normalize("NFKC", value.partition("\0")[0][:_SHORT]).upper())


def _unescaped(found: re.Match[str]) -> str:
    """`%u0041`, as classic ASP reads it."""
    return chr(int(found[1], 16))
