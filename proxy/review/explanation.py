"""All that there is to say about one request under one policy, as JSON."""

from dataclasses import asdict
from datetime import date
from typing import Any

from proxy.credentials.slots import Headers
from proxy.exchange import Exchange
from proxy.policy.credential import Inject
from proxy.policy.host import Authority
from proxy.policy.reason import WORDING
from proxy.policy.rules import Policy
from proxy.refusal.facts import facts_of
from proxy.review.asked import Asked, judge
from proxy.review.change import NoChange, smallest_change
from proxy.review.client import Judged, judge_head
from proxy.review.nearest import Nearest, nearest

WEBSOCKET_REFUSED = 426


def explanation(policy: Policy, asked: Asked, headers: Headers, today: date) -> dict[str, Any]:
    """What would happen to a request, and why. `headers` are those that the client would send beside Host.

    Raises `ConfigError` for a `{VARIABLE}` in a header that is no placeholder of the policy.
    """
    verdict = judge(policy, asked, today)
    judged = Judged(verdict) if isinstance(asked, Authority) else judge_head(policy, asked, verdict, headers)
    by_policy = judged.verdict is verdict
    denied = not verdict.allowed or verdict.decision.observed
    near = nearest(policy, asked, verdict, today) if denied and by_policy else None
    return {
        **_verdict(judged),
        **_asked(asked),
        "policy": {"name": policy.name, "source": policy.source, "digest": policy.digest},
        "rule": _rule(policy, judged.verdict.decision.rule),
        "nearest": _nearest(near),
        "credential": _credential(policy, judged),
        "addresses": ["public", *map(str, verdict.decision.networks)] if judged.verdict.allowed else [],
        "hint": _hint(policy, asked, judged, near),
        **_change(policy, asked, judged, near, today),
        "notes": list(judged.notes),
    }


def _verdict(judged: Judged) -> dict[str, Any]:
    decision, wording = judged.verdict.decision, WORDING[judged.verdict.decision.reason]
    refused = WEBSOCKET_REFUSED if judged.websocket else wording.status
    return {
        "verdict": "allow" if decision.allowed else "deny",
        "reason": str(decision.reason),
        "title": wording.title,
        "detail": judged.detail,
        "status": None if decision.allowed else refused,
        "observed": decision.observed,
        "tunnel": judged.verdict.tunnel,
        "trace_context": decision.trace_context,
        "websocket": judged.websocket,
    }


def _asked(asked: Asked) -> dict[str, Any]:
    if isinstance(asked, Authority):
        return {"method": "CONNECT", "scheme": None, "host": asked.host.name, "port": asked.port}
    return {
        "method": asked.method,
        "scheme": asked.scheme,
        "host": asked.host.name,
        "port": asked.port,
        "path": asked.path,
        "query_keys": list(asked.query_keys),
    }


def _rule(policy: Policy, rule_id: str | None) -> dict[str, Any] | None:
    found = next((rule for rule in policy.rules if rule.id == rule_id), None)
    return None if found is None else {"id": found.id, "where": found.where, "why": found.why}


def _nearest(near: Nearest | None) -> dict[str, Any] | None:
    if near is None:
        return None
    rule = {"id": near.rule.id, "where": near.rule.where, "why": near.rule.why}
    return {**rule, "differences": [asdict(difference) for difference in near.differences]}


def _credential(policy: Policy, judged: Judged) -> dict[str, Any] | None:
    decision = judged.verdict.decision
    if not decision.allowed or decision.credential is None:
        return None
    spec = policy.credentials[decision.credential]
    return {
        "name": spec.name,
        "from": spec.source,
        "form": form_text(judged.form) if judged.form else None,
        "injected": judged.form is not None,
        "not_injected": judged.not_injected or None,
    }


def form_text(form: Inject) -> str:
    """Where the secret goes in the request, in words."""
    if form.header is not None:
        return f"header {form.header}: {form.format}"
    if form.basic is not None:
        return f"header Authorization: Basic, user name {form.basic}"
    if form.query is not None:
        return f"query key {form.query}"
    return "header Authorization: Bearer {secret}"


def _hint(policy: Policy, asked: Asked, judged: Judged, near: Nearest | None) -> str | None:
    """The hint that the refusal itself would carry."""
    decision = judged.verdict.decision
    if decision.allowed and not decision.observed:
        return None
    exchange = Exchange(
        sandbox="", policy=policy, host=asked.host, port=asked.port, tunnel=judged.verdict.tunnel, decision=decision
    )
    if not isinstance(asked, Authority):
        exchange.scheme, exchange.method, exchange.path = asked.scheme, asked.method, asked.path
    connect = judged.verdict.tunnel or isinstance(asked, Authority)
    hint = facts_of(exchange, connect=connect).hint
    if near is None or decision.nearest in (None, near.rule.id):
        return hint
    # The refusal names the first of several rules that are as near; here, one and the same rule is spoken of.
    return hint.replace(f"the rule {decision.nearest}", f"the rule {near.rule.id}")


def _change(policy: Policy, asked: Asked, judged: Judged, near: Nearest | None, today: date) -> dict[str, Any]:
    verdict = judged.verdict
    if verdict.allowed and not verdict.decision.observed:
        return {"suggested_change": None, "no_change": None}
    if judged.detail:
        return {"suggested_change": None, "no_change": "no rule can allow it: it is what the request carries"}
    change = smallest_change(policy, asked, verdict, near, today)
    if isinstance(change, NoChange):
        return {"suggested_change": None, "no_change": change.because}
    return {
        "suggested_change": {
            "kind": "new rule" if change.new else "changed rule",
            "rule": change.rule.id,
            "where": policy.source if change.new else change.rule.where,
            "keys": list(change.keys),
            "yaml": change.yaml,
            "opens": change.opens,
            "notes": list(change.notes),
        },
        "no_change": None,
    }
