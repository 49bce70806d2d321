"""`outgate explain`: what the policy says to a request, and why, without a network."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.cli.serve import config_option

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.policy.credential import CredentialSpec
    from proxy.policy.decide import Decision
    from proxy.policy.request import Request
    from proxy.policy.rules import Policy

REFUSED = 1
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?", re.ASCII | re.DOTALL)
_PORTS = {"https": 443, "http": 80}


@click.command()
@click.argument("method")
@click.argument("url")
@click.option(
    "--policy", metavar="PATH", multiple=True, help="A policy file, or a folder of them. Repeatable.  [required]"
)
@click.option("--name", metavar="NAME", help="The policy to ask, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
@click.pass_context
def explain(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    method: str,
    url: str,
    policy: tuple[str, ...],
    name: str | None,
    as_json: bool,
    config: Path | None,
) -> None:
    """Say what would happen to a request, and why.

    Nothing is sent and no name is resolved; the address that a host has is checked only when the proxy dials it.
    Exit codes: 0 allowed, 1 refused, 2 misuse.
    """
    from proxy.settings import load_settings

    settings = load_settings({"policy": policy}, os.environ, Path.cwd(), config)
    chosen = _choose(settings.policy, name)
    answer = _answer(chosen, parse_request(method, url))
    if as_json:
        terminal.as_json(answer)
    else:
        _print(answer, url)
    context.exit(0 if answer["verdict"] == "allow" else REFUSED)


def parse_request(method: str, url: str) -> "Request":
    """The request that a client would make for a URL. Raises `ConfigError` for what is no method or URL."""
    from proxy.errors import ConfigError
    from proxy.policy.host import MalformedHost, parse_authority
    from proxy.policy.request import MalformedRequest, Request

    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigError(f"not a URL: {url[:200]!r}", "write it whole: https://api.example.com/path")
    scheme, authority, target, fragment = match[1].lower(), match[2], match[3], match[4]
    if scheme not in _PORTS:
        raise ConfigError(f"not a scheme of the proxy: {scheme}", "use https or http; a WebSocket is a GET of https")
    if fragment is not None:
        raise ConfigError("the URL has a fragment, which is never sent", "leave out what follows #")
    if not target.startswith("/"):
        target = "/" + target
    try:
        place = parse_authority(authority, _PORTS[scheme])
        return Request(scheme, place.host, place.port, method, target)
    except MalformedHost as error:
        hint = "a URL here has a host, perhaps a port, and no user; a name outside ASCII in its xn-- form"
        raise ConfigError(str(error), hint) from None
    except MalformedRequest as error:
        hint = "methods are upper-case, and what is not visible ASCII in a path is percent-encoded"
        raise ConfigError(str(error), hint) from None


def _choose(paths: tuple[Path, ...], name: str | None) -> "Policy":
    from proxy.config.load import load_policies
    from proxy.errors import ConfigError

    if not paths:
        raise ConfigError("no policy was given", "name a policy file or a folder of them: --policy PATH")
    policies = load_policies(paths)
    if name is None and len(policies) == 1:
        return policies[0]
    for policy in policies:
        if policy.name == name:
            return policy
    message = "there are several policies" if name is None else f"there is no policy {name!r}"
    raise ConfigError(message, f"choose one with --name: {', '.join(policy.name for policy in policies)}")


def _decide(policy: "Policy", request: "Request") -> "tuple[Decision, bool]":
    """The decision on the request, and whether it is about a tunnel: first the CONNECT, if the scheme needs one."""
    from proxy.policy.decide import decide, decide_connect

    today = datetime.now(UTC).date()
    if request.scheme == "https":
        connect = decide_connect(policy, request.host, request.port, today)
        if connect.tunnel or not connect.decision.allowed:
            return connect.decision, connect.tunnel
    return decide(policy, request, today), False


def _answer(policy: "Policy", request: "Request") -> dict[str, Any]:
    """Everything there is to say, as JSON."""
    from proxy.policy.reason import WORDING

    decision, tunnel = _decide(policy, request)
    wording = WORDING[decision.reason]
    return {
        "verdict": "allow" if decision.allowed else "deny",
        "reason": str(decision.reason),
        "title": wording.title,
        "status": None if decision.allowed else wording.status,
        "method": request.method,
        "scheme": request.scheme,
        "host": request.host.name,
        "port": request.port,
        "path": request.path,
        "query_keys": list(request.query_keys),
        "policy": {"name": policy.name, "source": policy.source, "digest": policy.digest},
        "observed": decision.observed,
        "tunnel": tunnel,
        "rule": _rule(policy, decision.rule),
        "nearest": _rule(policy, decision.nearest),
        "credential": _credential(policy, request, decision),
        "addresses": ["public", *map(str, decision.networks)] if decision.allowed else [],
        "hint": None if decision.allowed and not decision.observed else _hint(policy, request, decision, tunnel),
    }


def _rule(policy: "Policy", rule_id: str | None) -> dict[str, str] | None:
    found = next((rule for rule in policy.rules if rule.id == rule_id), None)
    return None if found is None else {"id": found.id, "where": found.where, "why": found.why}


def _credential(policy: "Policy", request: "Request", decision: "Decision") -> dict[str, Any] | None:
    if not decision.allowed or decision.credential is None:
        return None
    spec = policy.credentials[decision.credential]
    injected = request.scheme == "https" and spec.bound_to(request.host)
    return {"name": spec.name, "from": spec.source, "form": _form(spec), "injected": injected}


def _form(spec: "CredentialSpec") -> str:
    """Where the secret goes in the request, in words."""
    inject = spec.inject
    if inject is None:
        return f"as {spec.provider} takes it, in the form that the client used"
    if inject.header is not None:
        return f"header {inject.header}: {inject.format}"
    if inject.basic is not None:
        return f"header Authorization: Basic, user name {inject.basic}"
    if inject.query is not None:
        return f"query key {inject.query}"
    return "header Authorization: Bearer {secret}"


def _hint(policy: "Policy", request: "Request", decision: "Decision", tunnel: bool) -> str:
    """The hint that the refusal itself would carry."""
    from proxy.refusal.facts import facts_of

    return facts_of(_exchange(policy, request, decision, tunnel), connect=tunnel).hint


def _exchange(policy: "Policy", request: "Request", decision: "Decision", tunnel: bool) -> "Exchange":
    from proxy.exchange import Exchange

    return Exchange(
        sandbox="",
        policy=policy,
        scheme=request.scheme,
        host=request.host,
        port=request.port,
        method=request.method,
        path=request.path,
        tunnel=tunnel,
        decision=decision,
    )


def _print(answer: dict[str, Any], url: str) -> None:
    terminal.say(f"{'allowed' if answer['verdict'] == 'allow' else 'refused'}  {answer['method']} {url}")
    terminal.say()
    credential = answer["credential"]
    terminal.facts(
        [
            ("reason", "" if answer["reason"] == "allowed" else f"{answer['reason']}: {answer['title']}"),
            ("observed", "the policy's mode is observe: logged, and let pass" if answer["observed"] else ""),
            ("tunnel", "host and port are all that is checked" if answer["tunnel"] else ""),
            ("rule", _rule_text(answer["rule"])),
            ("why", (answer["rule"] or {}).get("why", "")),
            ("nearest rule", _rule_text(answer["nearest"])),
            ("credential", _credential_text(credential) if credential else ""),
            ("addresses", ", ".join(answer["addresses"])),
            ("policy", f"{answer['policy']['name']} ({answer['policy']['source']})"),
            ("hint", answer["hint"] or ""),
        ]
    )


def _rule_text(rule: dict[str, str] | None) -> str:
    return f"{rule['id']} ({rule['where']})" if rule else ""


def _credential_text(credential: dict[str, Any]) -> str:
    text = f"{credential['name']} from {credential['from']}; {credential['form']}"
    return text if credential["injected"] else f"{text}; not sent to this host"
