"""Warnings about what a rule is for: its reason, its days, its addresses, and the rules that make it idle."""

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address

from proxy.config.tree import KeyPath, shown
from proxy.policy.address import Network
from proxy.policy.rules import Rule
from proxy.review.cover import loosens
from proxy.review.risky import METADATA_ADDRESSES, READING_ENDINGS
from proxy.review.scene import Finding, Scene, writes

EXPIRING = timedelta(days=14)
# Wider than this is more than one site: 65,536 addresses of IPv4, and the /48 that one site gets (RFC 6177).
_WIDE = {4: 16, 6: 48}
_READING = re.compile(
    r"\b(read(s|ing|-only)?|docs?|documentation|download(s|ing)?|brows(e|es|ing)|view(s|ing)?|look(s|ing)? up"
    r"|fetch(es|ing)?|clon(e|es|ing)|search(es|ing)?)\b",
    re.IGNORECASE,
)
_WRITING = re.compile(
    r"\b(writ\w*|post(s|ed|ing)?|push\w*|creat\w*|upload\w*|updat\w*|edit\w*|send\w*|submit\w*|comment\w*|publish\w*"
    r"|delet\w*|chang\w*|report(s|ing)?|open(s|ing)?|call(s|ing)?|add(s|ing)?|answer\w*|repl(y|ies|ying)|manag\w*)\b",
    re.IGNORECASE,
)
_METADATA = tuple(ip_address(text) for text in METADATA_ADDRESSES)


def about_rules(scene: Scene) -> Iterator[Finding]:
    for entry, rule in scene.rules():
        yield from _shadowed(scene, entry, rule)
        yield from _denied(scene, entry, rule)
        yield from _days(scene, entry, rule)
        yield from _why(entry, rule)
        yield from _addresses(scene, entry, rule)


def _shadowed(scene: Scene, entry: KeyPath, rule: Rule) -> Iterator[Finding]:
    wide = scene.covers.of(rule, scene.own)
    if wide is None:
        return
    other = f"{shown(wide.id)} ({wide.where})"
    message = f"everything that the rule {shown(rule.id)} allows, the rule {other} allows already"
    hint = f"remove it, or narrow {shown(wide.id)}"
    if loosens(wide, rule):
        hint = f"narrow {shown(wide.id)}, which says less about paths, or remove this rule"
    yield Finding("rule_shadowed", entry, (*entry, "id"), message, hint)


def _denied(scene: Scene, entry: KeyPath, rule: Rule) -> Iterator[Finding]:
    denies = scene.denials.of(rule)
    if denies:
        names = ", ".join(f"{shown(deny.id)} ({deny.where})" for deny in denies[:3])
        message = f"the rule {shown(rule.id)} allows nothing, because of the deny rule{'s'[: len(denies) > 1]} {names}"
        yield Finding("rule_denied", entry, (*entry, "id"), message, "remove it: nothing overrides a deny rule")


def _days(scene: Scene, entry: KeyPath, rule: Rule) -> Iterator[Finding]:
    if rule.expires is None:
        return
    path, left = (*entry, "expires"), rule.expires - scene.today
    expired = rule.expired(scene.today)
    message = f"the rule {shown(rule.id)} has allowed nothing since {rule.expires}"
    yield Finding("rule_expired", entry, path, message, "remove the rule, or renew its `expires`", now=expired)
    days = "today is its last day" if not left else f"{left.days} day{'s'[: left.days != 1]} left"
    message = f"the rule {shown(rule.id)} expires on {rule.expires}, {days}"
    soon = not expired and left <= EXPIRING
    yield Finding("rule_expiring", entry, path, message, "renew its `expires`, if it is still needed", now=soon)


def _why(entry: KeyPath, rule: Rule) -> Iterator[Finding]:
    if not writes(rule) or not _READING.search(rule.why) or _WRITING.search(rule.why) or only_fetches(rule):
        return
    if not rule.inspect:
        message = f"{shown(rule.why)} speaks of reading, and a tunnel lets writing pass"
        hint = "inspect the host with `access: read`, or say in `why` what the tunnel is for"
    else:
        names = "every method" if rule.methods is None else ", ".join(sorted(rule.methods))
        message, hint = f"{shown(rule.why)} speaks of reading, and the rule allows {names}", "write `access: read`"
    yield Finding("write_against_why", entry, (*entry, "why"), message, f"{hint}, or say in `why` what is written")


def only_fetches(rule: Rule) -> bool:
    """Whether a POST of the rule reads: all of its paths are git's half for fetching."""
    return bool(rule.paths) and all(
        not path.rest and any(path.segments[-len(ending) :] == ending for ending in READING_ENDINGS)
        for path in rule.paths or ()
    )


def _addresses(scene: Scene, entry: KeyPath, rule: Rule) -> Iterator[Finding]:
    path = (*entry, "addresses")
    wide = [network for network in rule.networks if network.prefixlen < _WIDE[network.version]]
    if wide:
        message = f"the rule {shown(rule.id)} opens {_listed(wide)}, more than one site has"
        yield Finding("wide_addresses", entry, path, message, "name the networks or addresses of the service")
    metadata = [network for network in rule.networks if _opens_metadata(scene, network)]
    if metadata:
        message = f"the rule {shown(rule.id)} opens {_listed(metadata)}, where a cloud hands out the machine's own keys"
        yield Finding("metadata_address", entry, path, message, "deny the address, or leave it out")


def _opens_metadata(scene: Scene, network: Network) -> bool:
    opened = [each for each in _METADATA if each.version == network.version and each in network]
    return any(not _closed(scene, each) for each in opened)


def _closed(scene: Scene, address: object) -> bool:
    whole = (deny for deny in scene.deny if not (deny.endpoints or deny.methods or deny.paths or deny.query))
    return any(address in network for deny in whole for network in deny.networks)


def _listed(networks: list[Network]) -> str:
    return ", ".join(map(str, networks[:3])) + (" and more" if len(networks) > 3 else "")
