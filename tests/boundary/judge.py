"""What is wrong with an observation: pure functions from a case and what was seen to sentences."""

from typing import Any

from tests.boundary.case import Case, Expect, Wanted
from tests.boundary.scenery import SECRETS, address_of

type Observation = dict[str, Any]

_SHOWN = 48  # characters


def violations(expect: Expect, seen: Observation) -> list[str]:
    """Every way in which it is not as the case says, in a fixed order; empty if fine."""
    wrong = _client(expect, seen["client"])
    wrong += _requests(expect, seen["arrived"])
    wrong += _contact(expect, seen)
    wrong += [f"the secret of {host} reaches {where}" for host, where in _strayed(seen["arrived"])]
    wrong += [f"a secret is in {where}" for where in seen["leaked"]]
    wrong += [f"the client gets {text!r}" for text in seen.get("unsaid", ())]
    wrong += [f"it writes {text!r}" for text in seen.get("unwritten", ())]
    if expect.said and not seen["said"]:
        wrong.append(f"the client does not get {expect.said!r}")
    return list(dict.fromkeys(wrong))


def leftover(seen: Observation) -> list[str]:
    """The same for what came when no case was running."""
    return violations(Expect("either"), {"client": ["closed"], **{k: v for k, v in seen.items() if k != "client"}})


def short(text: str) -> str:
    """A text for one line: visible ASCII, of a bounded length."""
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _client(expect: Expect, outcomes: list[str]) -> list[str]:
    last = outcomes[-1] if outcomes else "closed"
    if last == "hang":
        return ["the client waits for ever"]
    refused = last == "closed" or last.removeprefix("connect ")[:1] in ("4", "5")
    if expect.client == "refused" and not refused:
        return [f"the client gets: {last}"]
    if expect.client == "answered" and not last.startswith("world "):
        return [f"the client gets no answer of the upstream: {last}"]
    return []


def _requests(expect: Expect, arrived: list[dict[str, Any]]) -> list[str]:
    wrong = [f"bytes that are no request reach {one['at']}" for one in arrived if one["stray"]]
    came = [(one, request) for one in arrived for request in one["requests"]]
    wanted = [*expect.requests, *expect.possible]
    for arrival, request in came:
        fitting = next((each for each in wanted if _same(each, arrival, request)), None)
        if fitting is None:
            wrong.append(f"{short(request['method'])} {short(request['target'])} reaches {arrival['at']}")
            continue
        wanted.remove(fitting)
        wrong += _flaws(fitting, arrival, request)
    return wrong + [
        f"{each.method} {each.target} does not reach {each.host}" for each in wanted if each in expect.requests
    ]


def _same(wanted: Wanted, arrival: dict[str, Any], request: dict[str, Any]) -> bool:
    at = f"{address_of(wanted.host)}:{80 if wanted.plain else 443}"
    return (arrival["at"], request["method"], request["target"]) == (at, wanted.method, wanted.target)


def _flaws(wanted: Wanted, arrival: dict[str, Any], request: dict[str, Any]) -> list[str]:
    wrong = []
    values = [value for name, value in request["headers"] if name.lower() == "host"]
    if values != [wanted.host]:
        wrong.append(f"its Host is {values}")
    if not wanted.plain and arrival["sni"] != wanted.host:
        wrong.append(f"its server name is {arrival['sni']}")
    keys = [value for name, value in request["headers"] if name.lower() == "authorization"]
    if keys != ([f"Bearer {SECRETS[wanted.host]}"] if wanted.secret else []):
        wrong.append(
            "its Authorization is not the credential of the host" if wanted.secret else "it has an Authorization"
        )
    there = {name.lower() for name, _ in request["headers"]}
    wrong += [f"it carries {name}" for name in wanted.without if name in there]
    for name, value in wanted.exactly:
        if [found for key, found in request["headers"] if key.lower() == name] != [value]:
            wrong.append(f"its {name} is not {value}")
    if wanted.body is not None and request["body"].encode("latin-1") != wanted.body:
        wrong.append("its body is another one")
    return wrong


def _contact(expect: Expect, seen: Observation) -> list[str]:
    due = expect.requests + expect.possible
    names = {each.host for each in due} | set(expect.asked)
    places = {f"{address_of(each.host)}:{80 if each.plain else 443}" for each in due} | set(expect.dialled)
    wrong = [f"looks up {name}" for name in sorted(set(seen["asked"]) - names)]
    wrong += [f"dials {place}" for place in sorted(set(seen["dialled"]) - places)]
    if expect.dials is not None and len(seen["dialled"]) != expect.dials:
        wrong.append(f"dials {len(seen['dialled'])} times instead of {expect.dials}")
    return wrong


def _strayed(arrived: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Secrets at places that are not theirs, or outside TLS."""
    found = []
    for one in arrived:
        # good.example and h2.example share a secret; the place tells them apart.
        own = {SECRETS[host] for host in SECRETS if one["tls"] and one["at"] == f"{address_of(host)}:443"}
        found += [(host, one["at"]) for host in one["secrets"] if SECRETS[host] not in own]
    return found


def broken(case: Case, seen: Observation | None) -> list[str]:
    """Like `violations`, for a case that may not have been seen at all."""
    return violations(case.expect, seen) if seen else ["it was not observed"]
