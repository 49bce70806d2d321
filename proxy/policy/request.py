"""The request as the policy sees it: a frozen value made from a request head."""

import re
from dataclasses import dataclass
from functools import cached_property

from proxy.policy.host import Host
from proxy.policy.query import Query, may_name_method

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
    def asked(self) -> Query:
        """The query as rules see it, read once for all of them."""
        return Query(self.query)

    @cached_property
    def query_keys(self) -> tuple[str, ...]:
        """The decoded keys of the query, each once, in the order of their first occurrence."""
        return self.asked.keys

    @cached_property
    def methods(self) -> frozenset[str]:
        """The method, and each that the query names for a server to take in its place (`_method=DELETE`)."""
        alone = frozenset((self.method,))
        return alone | self.asked.methods if may_name_method(self.query) else alone

    @property
    def unclear_method(self) -> bool:
        """Whether the query names a method in a way that servers read differently (`_method=DELETE%00`)."""
        return may_name_method(self.query) and self.asked.unclear_method
