"""What outgate.internal tells a sandbox of its own policy, its own refusals and its limits. Pure.

Of a policy only what a client can use: no `why`, no credential's name or source, no file, no deny rule. They are the
operator's words, and none of them helps to send a request that passes.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import date

from proxy import limits
from proxy.exchange import Exchange
from proxy.head import MAX_HEADERS
from proxy.policy.decide import Decision
from proxy.policy.host import INTERNAL
from proxy.policy.rules import Policy, Rule
from proxy.refusal.facts import PATH_LIMIT, facts_of, visible
from proxy.review.seen import Seen

ROOT = f"http://{INTERNAL}"
_TEXT = 300
EXAMPLE = '{"host": "api.example.com", "method": "GET", "path": "/v1/x", "why": "what for"}'


def home(exchange: Exchange) -> dict[str, object]:
    """`GET /`: what this is, and what to do next."""
    return {
        "what": "This is Outgate, the proxy between this sandbox and the network. It lets pass what a policy allows and"
        " refuses the rest. This page is answered by Outgate itself; nothing of it leaves.",
        "sandbox": visible(exchange.sandbox, _TEXT),
        "policy": visible(exchange.policy.name, _TEXT),
        "mode": "observe" if exchange.policy.observe else "enforce",
        "next": "If a request was refused, read refusals for the reason and policy for what is allowed instead. If the"
        " task needs more than that, ask once with access, then go on without it: a person decides, perhaps later."
        " Other hosts, mirrors or tools do not help: what is not allowed is refused on every way.",
        "pages": {
            "policy": f"GET {ROOT}/policy: what is allowed",
            "refusals": f"GET {ROOT}/refusals: what was refused lately, and why",
            "limits": f"GET {ROOT}/limits: the bounds that hold, and what is left",
            "access": f"POST {ROOT}/access: ask a person for more",
        },
        "formats": "JSON; with `Accept: text/plain` plain text",
    }


def policy_page(policy: Policy, today: date) -> dict[str, object]:
    """`GET /policy`: one entry for each rule that lets something pass, in as many as fit."""
    rules, left_out = _fitting(_rule(policy, rule, today) for rule in _allowing(policy))
    refused = "let pass as well while the mode is observe, and written down" if policy.observe else "refused"
    return {
        "policy": visible(policy.name, _TEXT),
        "mode": "observe" if policy.observe else "enforce",
        "note": "A request passes if one rule matches all of it. Rules that are not shown can still deny it; then the"
        " refusal says so.",
        "rules": rules,
        "rules_not_shown": left_out,
        "next": f"What no rule here matches is {refused}. If the task needs it: POST {ROOT}/access",
    }


def refusals_page(seen: Iterable[Seen], policy: Policy, *, whole: bool) -> dict[str, object]:
    """`GET /refusals`: what was refused lately, the same in one entry; `seen` is the newest first."""
    groups: dict[tuple[object, ...], list[Seen]] = {}
    for each in seen:
        groups.setdefault((each.method, each.scheme, each.host, each.port, each.path, each.reason), []).append(each)
    shown = [_refusal(group, policy) for group in list(groups.values())[: limits.REFUSALS_SHOWN]]
    return {
        "refusals": shown,
        "more": max(0, len(groups) - len(shown)),
        "whole": whole,
        "note": f"The newest first, of the last {limits.RECALL_TIME / 60:.0f} minutes."
        + ("" if whole else " There may be more that are not to be found here."),
        "next": f"What was decided will not pass by trying again. What is allowed: {ROOT}/policy",
    }


def limits_page(access_left: int) -> dict[str, object]:
    """`GET /limits`: what holds for one client, and what is left where that is counted."""
    return {
        "requests": {
            "head_bytes": limits.MAX_HEAD,
            "header_fields": MAX_HEADERS,
            "at_once_on_one_http2_connection": limits.MAX_HTTP2_STREAMS,
            "seconds_without_a_byte": limits.IDLE_TIME,
            "note": "No number of requests, bytes or tokens is counted for this sandbox.",
        },
        "access": {
            "requests": limits.ACCESS_REQUESTS,
            "in_seconds": round(limits.RECALL_TIME),
            "left": access_left,
            "body_bytes": limits.MAX_ACCESS,
            "why_characters": limits.MAX_WHY,
        },
        "outgate_internal": {
            "requests": limits.VISITS,
            "in_seconds": round(limits.VISITS_TIME),
            "note": "Counted in each worker of the proxy alone.",
        },
    }


def how_to_ask(access_left: int) -> dict[str, object]:
    """`GET /access`: what a request for access looks like, and what becomes of it."""
    return {
        "how": f"POST {ROOT}/access with {EXAMPLE}",
        "forms": "JSON, a form, or lines of key: value; method and path may be left out",
        "left": access_left,
        "note": "It is written down for a person, and changes nothing by itself.",
    }


def asked(exchange: Exchange, access_left: int) -> dict[str, object]:
    """The answer to a request for access."""
    return {
        "recorded": True,
        "changed": "nothing",
        "next": "A person has to decide, and may do so later or not at all. Nobody will tell you, and until then no"
        " more passes than before: go on without it, and say in your result what is missing and why.",
        "audit_id": exchange.id,
        "left": access_left,
    }


def _allowing(policy: Policy) -> Iterator[Rule]:
    """The rules that let something pass; those that deny stand in another index of the policy."""
    allow = policy.allow
    indexed = (*allow.exact.values(), *allow.wildcard.values(), allow.literal)
    ids = {rule.id for rules in indexed for rule in rules}
    return (rule for rule in policy.rules if rule.id in ids)


def _rule(policy: Policy, rule: Rule, today: date) -> dict[str, object]:
    spec = None if rule.credential is None else policy.credentials.get(rule.credential)
    shown: dict[str, object] = {
        "rule": visible(rule.id, _TEXT),
        "hosts": [str(pattern) for pattern in rule.hosts],
        # With hosts, they are where these lead inside the operator's network; alone, they are what can be asked for.
        "addresses": [] if rule.hosts else [str(network) for network in rule.networks],
        "schemes_and_ports": "any" if rule.endpoints is None else sorted(f"{s}:{port}" for s, port in rule.endpoints),
        "methods": "any" if rule.methods is None else sorted(rule.methods),
        "paths": "any" if rule.paths is None else [visible(str(path), _TEXT) for path in rule.paths],
        "query": {visible(key, _TEXT): visible(value, _TEXT) for key, value in rule.query},
        "expires": None if rule.expires is None else rule.expires.isoformat(),
        "expired": rule.expired(today),
        "credential_is_added": rule.credential is not None,
        "placeholder": None if spec is None else spec.placeholder,
    }
    if not rule.inspect:
        shown |= {"methods": "any", "paths": "any", "tunnel": True}
    return shown


def _fitting(entries: Iterable[dict[str, object]]) -> tuple[list[dict[str, object]], int]:
    """The first entries, within the size of a page, and how many are left."""
    shown: list[dict[str, object]] = []
    size = left = 0
    for entry in entries:
        size += 0 if left else len(json.dumps(entry))
        if size > limits.MAX_PAGE:
            left += 1
        else:
            shown.append(entry)
    return shown, left


def _refusal(group: list[Seen], policy: Policy) -> dict[str, object]:
    """One entry, in the words of the refusal itself: what only the operator may know stands in neither."""
    last = group[0]
    decision = Decision(reason=last.reason, rule=last.rule, nearest=last.nearest)
    exchange = Exchange(
        sandbox="",
        policy=policy,
        host=last.host,
        port=last.port,
        scheme=last.scheme,
        method=last.method,
        decision=decision,
    )
    exchange.path = last.path
    facts = facts_of(exchange, connect=last.tunnel)
    return {
        "time": last.time.isoformat(timespec="seconds"),
        "times": len(group),
        "method": facts.method,
        "scheme": last.scheme or None,
        "host": facts.host,
        "port": last.port or None,
        "path": visible(last.path, PATH_LIMIT) or None,
        "reason": str(last.reason),
        "title": facts.wording.title,
        "rule": facts.rule,
        "hint": facts.hint,
        "audit_id": visible(last.id, 64),
    }
