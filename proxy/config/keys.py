"""What the keys of one entry mean together: which exclude, which need each other. Works on plain values, so that it
can speak of an entry that has other faults too.
"""

from collections.abc import Iterator

from proxy.config.tree import Document, KeyPath, Plain
from proxy.errors import Problem

# What cannot be checked in a tunnel: every key of an allow rule that is about HTTP.
_HTTP_KEYS = frozenset(
    ("access", "methods", "schemes", "paths", "query", "encoded_slash", "http2", "trace_context", "credential")
)
_PLACES = ("header", "bearer", "basic", "query")

type _Found = tuple[str, str, str]  # the key that is wrong (or nothing), the message, the hint


def check_keys(document: Document, plain: Plain) -> Iterator[Problem]:
    """Every fault in how the keys of rules, credentials and injections stand together."""
    for path, found in _faults(plain):
        key, message, hint = found
        full = (*path, key) if key else path
        yield document.problem(full, message, hint, at_key=bool(key))


def _faults(plain: Plain) -> Iterator[tuple[KeyPath, _Found]]:
    top = plain if isinstance(plain, dict) else {}
    for section in ("allow", "deny"):
        rules = top.get(section)
        for index, rule in enumerate(rules if isinstance(rules, list) else []):
            if isinstance(rule, dict):
                faults = (*_rule(rule), *(_allow_rule(rule) if section == "allow" else ()))
                yield from (((section, index), fault) for fault in faults)
    credentials = top.get("credentials")
    for name, entry in credentials.items() if isinstance(credentials, dict) else ():
        if isinstance(entry, dict):
            yield from ((("credentials", name), fault) for fault in _credential(entry))
            inject = entry.get("inject")
            if isinstance(inject, dict):
                yield from ((("credentials", name, "inject"), fault) for fault in _inject(inject))


def _rule(rule: dict[str, Plain]) -> Iterator[_Found]:
    if "hosts" not in rule and "addresses" not in rule:
        yield "", "a rule needs `hosts` or `addresses`", "hosts: [api.example.com]"
    if "access" in rule and "methods" in rule:
        yield "methods", "`access` and `methods` exclude each other", "keep one of the two"


def _allow_rule(rule: dict[str, Plain]) -> Iterator[_Found]:
    if "encoded_slash" in rule and "paths" not in rule:
        yield "encoded_slash", "`encoded_slash` needs `paths`", "paths: [/**]"
    if rule.get("inspect") is False:
        for key in (key for key in rule if key in _HTTP_KEYS):
            hint = f"leave `{key}` out, or remove `inspect: false`"
            yield key, f"`{key}` cannot be checked in a tunnel: `inspect: false` takes hosts, addresses and ports", hint
    schemes = rule.get("schemes")
    if "credential" in rule and isinstance(schemes, list) and "http" in schemes:
        yield "schemes", "a credential never travels over cleartext", "remove `http`, or move it to a rule of its own"


def _credential(entry: dict[str, Plain]) -> Iterator[_Found]:
    if "provider" in entry and "inject" in entry:
        yield "inject", "`provider` and `inject` exclude each other", "keep `provider`: it knows where the secret goes"
    if "provider" not in entry and "inject" not in entry:
        yield "", "a credential needs `provider` or `inject`", "inject: {bearer: true}"


def _inject(inject: dict[str, Plain]) -> Iterator[_Found]:
    places = [place for place in _PLACES if place in inject]
    if not places:
        yield "", "`inject` says in one way where the secret goes", "inject: {bearer: true}"
    for place in places[1:]:
        yield (
            place,
            f"`{places[0]}` and `{place}` exclude each other",
            "a secret goes to one place; keep one of the two",
        )
    if "format" in inject and "header" not in inject:
        yield "format", "`format` needs `header`", 'inject: {header: Authorization, format: "token {secret}"}'
