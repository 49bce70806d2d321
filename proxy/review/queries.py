"""Classes of queries, by the conditions of some rules that they meet; and words for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from proxy.policy.spelling import folded_name
from proxy.review.path_places import TooLarge

MAX_QUERIES = 5_000

type Condition = tuple[tuple[str, str], ...]
type _Conditions = frozenset[Condition]


@dataclass(frozen=True, slots=True, eq=False)
class QueryClass:
    """All queries that meet these conditions and no other, of which `raw` is one.

    `exact` as allow rules mean them, `blind` as deny rules do: in any spelling of a key, however often it occurs.
    """

    raw: str = ""
    exact: _Conditions = frozenset()
    blind: _Conditions = frozenset()


def query_classes(allow: Iterable[Condition], deny: Iterable[Condition]) -> tuple[QueryClass, ...]:
    """The classes for the conditions of allow and of deny rules. Raises `TooLarge` beyond `MAX_QUERIES`."""
    exact, blind = (sorted({*conditions} - {()}) for conditions in (allow, deny))
    found: dict[tuple[_Conditions, _Conditions], QueryClass] = {}
    for once in _sums(exact, single=True):
        keys = {folded_name(key): value for key, value in once}
        # Deny rules do not see how a key is spelled: what they want may stand there already, or cannot stand there.
        can = [each for each in blind if all(keys.get(folded_name(key), value) == value for key, value in each)]
        for more in _sums(
            [tuple(pair for pair in each if folded_name(pair[0]) not in keys) for each in can], single=False
        ):
            there = {(folded_name(key), value) for key, value in once | more}
            met = (
                frozenset(each for each in exact if once.issuperset(each)),
                frozenset(each for each in blind if there.issuperset((folded_name(key), value) for key, value in each)),
            )
            twice = (
                *sorted(once),
                *sorted(more),
                *sorted(more),
            )  # what occurs twice is nothing that an allow rule means
            found.setdefault(
                met, QueryClass("&".join(f"{_quoted(key)}={_quoted(value)}" for key, value in twice), *met)
            )
            if len(found) > MAX_QUERIES:
                raise TooLarge(f"the rules for one host tell more than {MAX_QUERIES} kinds of query apart")
    return tuple(found.values())


def _sums(conditions: Iterable[Condition], *, single: bool) -> set[frozenset[tuple[str, str]]]:
    """The pairs of every choice of conditions; with `single`, of those that give no key twice, in no two spellings."""
    found = {frozenset[tuple[str, str]]()}
    for condition in conditions:
        for each in list(found):
            pairs = each.union(condition)
            if not single or len({folded_name(key) for key, _ in pairs}) == len(pairs):
                found.add(pairs)
        if len(found) > MAX_QUERIES:
            raise TooLarge(f"the rules for one host tell more than {MAX_QUERIES} kinds of query apart")
    return found


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """Queries that meet all of these conditions; any query if there is none."""

    exact: _Conditions = frozenset()
    blind: _Conditions = frozenset()

    def means(self, query: QueryClass) -> bool:
        return self.exact <= query.exact and self.blind <= query.blind

    def __and__(self, other: "QueryTerm") -> "QueryTerm":
        return QueryTerm(self.exact | other.exact, self.blind | other.blind)

    @property
    def text(self) -> str:
        exact = "&".join(sorted({_text(pair) for condition in self.exact for pair in condition}))
        blind = "&".join(sorted({_text(pair) for condition in self.blind for pair in condition}))
        denied = f"{blind} (any spelling, also repeated)" if blind else ""
        return " and ".join(filter(None, (denied, exact))) or "any"


def terms_of_queries(queries: Iterable[QueryClass]) -> Iterator[QueryTerm]:
    """The plain words for the classes."""
    every = list(queries)
    yield QueryTerm()
    yield from (QueryTerm(frozenset({each})) for each in sorted({one for query in every for one in query.exact}))
    yield from (QueryTerm(blind=frozenset({each})) for each in sorted({one for query in every for one in query.blind}))


def whole_query(query: QueryClass) -> QueryTerm:
    return QueryTerm(query.exact, query.blind)


def _text(pair: tuple[str, str]) -> str:
    return "=".join(quote(each, safe="!$'()*,:;@/?[]", errors="replace") for each in pair)
