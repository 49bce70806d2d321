"""The page of covered threats, made of the cases and of what stock mitmdump was seen to do.

`python -m tests.boundary.page > docs/threats.md` after a change of the cases; `python -m tests.boundary.page --measure`
before it, to run stock mitmdump against all of them again.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mitmproxy import version

from tests.boundary.case import Case, Expect
from tests.boundary.cases import CASES, FAMILIES
from tests.boundary.lab import observe, results
from tests.boundary.origins import ELSEWHERE, ORIGINS
from tests.boundary.scenery import ATTACKER, PUBLIC

MEASURED = Path(__file__).with_name("stock.json")
STOCK = ("stock", "stock-lazy")
_CONTACT = ("looks up ", "dials ")

_HEAD = """# Threats that the tests try

Made by `python -m tests.boundary.page`; do not edit.

`tests/boundary/` runs a real proxy as a black box, in a network namespace where every address leads to a recorder: raw
clients on one side; on the other a resolver, servers with a certificate for any name on every address, and a sniffer of
every packet that begins something. A case holds if the client sees what it may see, exactly the expected requests
arrived, no other name was looked up, no other address dialled, no other byte sent, and no secret is anywhere but where
it belongs. `make test` runs all {count} cases against Outgate.

The same cases run against stock mitmdump {version} with the allow-list addon that everybody writes first
(`tests/boundary/naive.py`): with its defaults, and with `connection_strategy=lazy`, so that what it does wrong can be
told from what it does too early. {failed} cases fail with the defaults, {lazy} with lazy connections. A case that
stock mitmdump passes with its defaults says why it is kept. To run another proxy, give it a class in
`tests/boundary/subjects.py`.

In the columns for mitmdump, *early* means that the request was refused after the destination, or an allowed host, had
been looked up or dialled. *known* is a fault of Outgate that is not mended yet.
"""


def page(measured: dict[str, dict[str, list[str]]]) -> str:
    """The whole text, for results by subject and case."""
    stock, lazy = (measured[name] for name in STOCK)
    ids = [case.id for case in CASES]
    head = _HEAD.format(
        count=len(CASES),
        version=version.VERSION,
        failed=sum(bool(stock[each]) for each in ids),
        lazy=sum(bool(lazy[each]) for each in ids),
    )
    parts = [head]
    for family, cases in FAMILIES.items():
        parts.append(f"## {family}\n\n| Case | Tried | Must be | Stock mitmdump | Lazy |\n|---|---|---|---|---|\n")
        parts[-1] += "".join(_row(case, stock[case.id], lazy[case.id]) for case in cases)
        if kept := list(_kept(cases)):
            parts.append("Kept although stock mitmdump passes:\n\n" + "".join(kept))
    parts.append(
        "## Where the cases come from\n\nOne line for each thing that mitmproxy "
        "does by itself (m12) or that happened to others (f4), with the number of its cases.\n\n"
        "| Line | What | Cases |\n|---|---|---|\n" + "".join(_origins())
    )
    return "\n".join(parts)


def _row(case: Case, stock: list[str], lazy: list[str]) -> str:
    known = " (known)" if case.known else ""
    cells = [f"`{case.id}`{known}", case.threat, _due(case.expect), _verdict(stock), _verdict(lazy)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _due(expect: Expect) -> str:
    """The expectation in a few words."""
    client = {"refused": "refused", "answered": "passes", "either": "no contact"}[expect.client]
    if expect.client == "either" and (expect.requests or expect.possible):
        client = "one reading"
    if expect.client == "refused" and expect.dialled and not expect.requests:
        client = "refused, no byte"
    if expect.client == "refused" and expect.requests:
        client = "the first passes, the rest is refused" if len(expect.requests) == 1 else "refused"
    return client


def _verdict(wrong: list[str]) -> str:
    if not wrong:
        return "holds"
    grave = [each for each in wrong if not each.startswith(_CONTACT)]
    if not grave:
        return "early"
    # What is worst to know comes first: a secret, then a request, then what the client saw.
    grave.sort(key=lambda each: (not each.startswith(("the secret", "a secret")), "reach" not in each))
    return _plain(grave[0])


def _plain(text: str) -> str:
    """A violation for readers: names instead of the world's addresses."""
    shown = text.replace(ATTACKER, "the attacker")
    for host, address in PUBLIC.items():
        shown = shown.replace(f"{address}:", f"{host}:")
    return "**" + shown.replace("*", "\\*").replace("<", "&lt;") + "**"


def _kept(cases: tuple[Case, ...]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for case in cases:
        if case.kept:
            reasons.setdefault(case.kept, []).append(f"`{case.id}`")
    for reason, ids in reasons.items():
        yield f"- {', '.join(ids)}: {reason}\n"


def _origins() -> Iterator[str]:
    for name, what in ORIGINS.items():
        count = sum(name in case.origins for case in CASES)
        cells = [str(count)] if count else []
        if name in ELSEWHERE:
            cells.append(ELSEWHERE[name])
        yield f"| {name} | {what} | {'; '.join(cells)} |\n"


def measured() -> dict[str, dict[str, list[str]]]:
    """What was written down of stock mitmdump: what is wrong, by subject and case."""
    found: dict[str, dict[str, list[str]]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return found


def main(arguments: list[str]) -> None:
    """Print the page, or measure."""
    if arguments == ["--measure"]:
        found = {subject: results(observe(subject)) for subject in STOCK}
        MEASURED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    else:
        sys.stdout.write(page(measured()))


if __name__ == "__main__":
    main(sys.argv[1:])
