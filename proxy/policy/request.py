"""The request as the policy sees it: a frozen value made from a request head."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from proxy.policy.host import Host

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_TARGET = re.compile(r"/[\x21-\x7e]*")


class MalformedRequest(ValueError):
    """The method or the target is not one that RFC 9112 allows for a request through a proxy."""


@dataclass(frozen=True)
class Request:
    """One request: `https` or `http`, a canonical host, a port, a method, and the target in origin form.

    Raises `MalformedRequest` where method or target are not well formed. A method in lower case
    is malformed: methods are case-sensitive (RFC 9110 section 9.1), and guessing hides what is sent.
    """

    scheme: str
    host: Host
    port: int
    method: str
    target: str

    def __post_init__(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise MalformedRequest(f"not a method: {self.method[:32]!r}")
        if not _TARGET.fullmatch(self.target) or "#" in self.target:
            raise MalformedRequest("the target is not an absolute path of visible ASCII characters")

    @cached_property
    def path(self) -> str:
        """The raw path, as on the wire."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> str:
        """The raw query without its question mark; empty if there is none."""
        return self.target.partition("?")[2]

    @cached_property
    def query_keys(self) -> tuple[str, ...]:
        """The decoded keys of the query, each once, in the order of their first occurrence."""
        return tuple(dict.fromkeys(key for key, _ in read_query(self.query, "&")))


def read_query(raw: str, separators: str) -> list[tuple[str, str]]:
    """Decode `k=v` pairs, split at any of `separators` (form encoding, `+` is a space)."""
    parts = re.split(f"[{separators}]", raw)
    pairs = (part.partition("=") for part in parts if part)
    return [(_decode(key), _decode(value)) for key, _, value in pairs]


def query_matches(raw: str, wanted: tuple[tuple[str, str], ...]) -> bool:
    """Whether each wanted key occurs exactly once with its value, however a server splits the query.

    Some servers split at `;` too (HTML 4.01 appendix B.2.2), so both readings must agree. A key that some
    server takes for a wanted one (`state[]`, `State`, ` state`) counts as another occurrence of it.
    """
    return all(_has_exactly(read_query(raw, separators), wanted) for separators in ("&", "&;"))


def query_denied(raw: str, wanted: tuple[tuple[str, str], ...]) -> bool:
    """As `query_matches`, for deny rules: any occurrence counts, so that a second one cannot hide it."""
    folded = {(folded_key(key), value) for key, value in wanted}
    return any(
        folded <= {(folded_key(key), value) for key, value in read_query(raw, separators)} for separators in ("&", "&;")
    )


def _has_exactly(pairs: list[tuple[str, str]], wanted: tuple[tuple[str, str], ...]) -> bool:
    counts = Counter(folded_key(key) for key, _ in pairs)
    return all(counts[folded_key(key)] == 1 and (key, value) in pairs for key, value in wanted)


def folded_key(key: str) -> str:
    """The key as the most lenient server reads it: PHP cuts at `[` and NUL and turns ` ` and `.` into `_`, ASP.NET
    ignores case.
    """
    name = key.strip().partition("[")[0].partition("\x00")[0]
    return name.replace(" ", "_").replace(".", "_").casefold()


def _decode(text: str) -> str:
    return unquote(text.replace("+", " "), errors="replace")
