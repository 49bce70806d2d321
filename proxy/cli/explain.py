"""`outgate explain`: what the policy says to a request, and why, without a network."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import terminal
from proxy.cli.serve import config_option

if TYPE_CHECKING:
    from proxy.policy.rules import Policy

REFUSED = 1
_WEBSOCKET = re.compile("ws(?=s?://)", re.IGNORECASE)
# RFC 6455 section 1.3; the key is its example.
_HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@click.command()
@click.argument("method")
@click.argument("url")
@click.option(
    "--policy", metavar="PATH", multiple=True, help="A policy file, or a folder of them. Repeatable.  [required]"
)
@click.option("--name", metavar="NAME", help="The policy to ask, where there are several.")
@click.option(
    "--header",
    metavar="'NAME: VALUE'",
    multiple=True,
    help="A header that the client would send; {VARIABLE} stands for the placeholder of that name. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
@click.pass_context
def explain(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    method: str,
    url: str,
    policy: tuple[str, ...],
    name: str | None,
    header: tuple[str, ...],
    as_json: bool,
    config: Path | None,
) -> None:
    """Say what would happen to a request, and why; and for a denial, the smallest change that would allow it.

    A wss: URL is a WebSocket; CONNECT with HOST:PORT is a tunnel. Nothing is sent and no name is resolved; the
    address that a host has is checked only when the proxy dials it. Exit codes: 0 allowed, 1 refused, 2 misuse.
    """
    from proxy.gate import today
    from proxy.review.asked import parse_asked
    from proxy.review.client import parse_header
    from proxy.review.explanation import explanation
    from proxy.settings import load_settings

    settings = load_settings({"policy": policy}, os.environ, Path.cwd(), config)
    chosen = _choose(settings.policy, name)
    upgrade = _HANDSHAKE if _WEBSOCKET.match(url) else ()
    asked = parse_asked(method, _WEBSOCKET.sub("http", url, count=1))
    headers = tuple(parse_header(text) for text in (*upgrade, *header))
    answer = explanation(chosen, asked, headers, today())
    if as_json:
        terminal.as_json(answer)
    else:
        _print(answer, url)
    context.exit(0 if answer["verdict"] == "allow" else REFUSED)


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


def _print(answer: dict[str, Any], url: str) -> None:
    terminal.say(f"{'allowed' if answer['verdict'] == 'allow' else 'refused'}  {answer['method']} {url}")
    terminal.say()
    credential, nearest = answer["credential"], answer["nearest"]
    terminal.facts(
        [
            ("reason", "" if answer["reason"] == "allowed" else f"{answer['reason']}: {answer['title']}"),
            ("detail", answer["detail"]),
            ("observed", "the policy's mode is observe: logged, and let pass" if answer["observed"] else ""),
            ("tunnel", "host and port are all that is checked" if answer["tunnel"] else ""),
            ("trace", "the client's trace headers go upstream" if answer["trace_context"] else ""),
            ("websocket", "its handshake is judged as this GET" if answer["websocket"] else ""),
            ("rule", _rule_text(answer["rule"])),
            ("why", (answer["rule"] or {}).get("why", "")),
            ("nearest rule", _rule_text(nearest)),
            *(("differs", difference["words"]) for difference in (nearest or {}).get("differences", ())),
            ("credential", _credential_text(credential) if credential else ""),
            *(("note", note) for note in answer["notes"]),
            ("addresses", ", ".join(answer["addresses"])),
            ("policy", f"{answer['policy']['name']} ({answer['policy']['source']})"),
            ("hint", answer["hint"] or ""),
            ("change", answer["no_change"] or ""),
        ]
    )
    if answer["suggested_change"]:
        _print_change(answer["suggested_change"])


def _print_change(change: dict[str, Any]) -> None:
    what = "add below `allow` in" if change["kind"] == "new rule" else "in the rule at"
    terminal.say()
    terminal.say(f"the smallest change that would allow it; {what} {change['where']}:")
    terminal.say()
    terminal.say("\n".join(f"  {line}" for line in change["yaml"].splitlines()))
    terminal.say()
    terminal.facts([("opens", change["opens"]), *(("note", note) for note in change["notes"])])


def _rule_text(rule: dict[str, Any] | None) -> str:
    return f"{rule['id']} ({rule['where']})" if rule else ""


def _credential_text(credential: dict[str, Any]) -> str:
    place = credential["form"] or f"not sent: {credential['not_injected'] or 'a tunnel carries none'}"
    return f"{credential['name']} from {credential['from']}; {place}"
