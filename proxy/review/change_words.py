"""A change of a policy in words: what it opens, and what a person should know of it."""

from collections.abc import Iterator

from proxy.policy.host import Authority
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule
from proxy.review.asked import Asked

_PORTS = {"https": 443, "http": 80}


def opens(asked: Asked, rule: Rule, keys: tuple[str, ...]) -> str:
    if keys == ("expires",):
        return "all that the rule allowed before it expired, until the end of the day that it names"
    if isinstance(asked, Authority):
        return f"a tunnel to {asked}, in which nothing is inspected"
    usual = asked.port == _PORTS[asked.scheme]
    place = asked.host.url_form if usual else f"{asked.host.url_form}:{asked.port}"
    pairs = " and ".join(f"{key}={value}" for key, value in rule.query)
    query = f"where its query has {pairs}" if pairs else "with any query"
    return f"{asked.method} {asked.scheme}://{place}{asked.path}, {query}"


def notes(policy: Policy, asked: Asked, rule: Rule, keys: tuple[str, ...]) -> Iterator[str]:
    """What else the change does, and what a person must add."""
    if keys == ("methods",):
        yield "`methods` takes the place of `access`, if the rule has that"
    if keys == ("expires",):
        yield "the day is the earliest that helps; name the one on which the work ends"
    if not keys and rule.credential is not None:
        yield f"the request gets the credential {rule.credential}, as in the nearest rule"
    about = [each for pattern in rule.hosts for each in policy.rules if pattern in each.hosts]
    if rule.inspect and rule.paths is None and not keys:
        yield "without `paths` the rule is about every path of the host"
    if rule.paths is not None and about and all(each.paths is None for each in about):
        yield "the first `paths` about the host: a path that servers read differently is then refused"
    if rule.paths is not None and any(path.rest or None in path.segments for path in rule.paths) and not keys:
        yield "the path cannot be named exactly, so the rule is a little wider"
    if not keys and not isinstance(asked, Authority):
        yield from _more(policy, asked, rule)


def _more(policy: Policy, asked: Request, rule: Rule) -> Iterator[str]:
    """What a rule for one request leaves open."""
    about = [each for each in policy.allow.speaking_of(asked.host) if each.id != rule.id]
    named = {key for each in about for key, _ in each.query} - {key for key, _ in rule.query}
    if named and not rule.query:
        keys = ", ".join(f"`{key}`" for key in sorted(named))
        yield f"no rule can ask for a query without a key, or with it twice, so it takes any {keys} that others ask for"
    if not about:
        yield "seldom one request is all: `outgate suggest LOG` proposes rules for what an agent did in observe mode"
