"""Run cases against one subject, in a network namespace of their own: `python -m tests.boundary.lab outgate`.

The first process only makes the namespace; the second one, inside it, prints an observation as JSON for each case.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.boundary.case import Case
from tests.boundary.cases import CASES
from tests.boundary.client import Probe
from tests.boundary.forms import forms
from tests.boundary.judge import leftover, violations
from tests.boundary.scenery import SECRETS
from tests.boundary.subjects import SUBJECTS, Subject
from tests.boundary.world import Arrival, World

ROOT = Path(__file__).parents[2]
_OUTER = 900.0


def namespace() -> list[str]:
    """The command that starts another one in network and mount namespaces of its own."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--net", "--mount", "--"]


def impossible() -> str:
    """Why the suite cannot run on this machine; empty if it can."""
    command = [
        *namespace(),
        "sh",
        "-c",
        "command -v ip && ip link set lo up && mount --bind /etc/resolv.conf /etc/resolv.conf",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        return f"unshare (util-linux) is needed: {error}"
    if done.returncode:
        said = done.stderr.strip() or "ip (iproute2) is needed"
        return f"network and mount namespaces and ip (iproute2) are needed: {said}"
    return ""


def observe(subject: str, only: str = "") -> dict[str, dict[str, Any]]:
    """Run every case (or those whose id begins with `only`) in a namespace: observations by the id of the case."""
    command = [*namespace(), sys.executable, "-m", "tests.boundary.lab", "--inside", subject, only]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=_OUTER)
    return {each["id"]: each for each in map(json.loads, done.stdout.splitlines())}


def _inside(subject: str, only: str) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="boundary-") as name:
        folder = Path(name)
        (folder / "world").mkdir()
        world = World(folder / "world")
        world.open(folder)
        wanted = [case for case in CASES if case.id.startswith(only)]
        for setup in sorted({case.setup for case in wanted}):
            cases = [case for case in wanted if case.setup == setup]
            with SUBJECTS[subject](folder / setup, setup, world.authority.ca_file) as running:
                world.take(set(), running.address[1])
                seen = [_case(case, running, world) for case in cases]
                after = _after(setup, running, world)
            # A log may be written after its client has its answer: read it when nobody writes any more.
            written = running.written()
            for case, each in zip(cases, seen, strict=True):
                each["unwritten"] = [text for text in case.expect.unwritten if text.encode() in written]
            after["leaked"] += _leaks("what it wrote", written)
            yield from (*seen, after)
        assert world.lost() == 0, "the sniffer lost packets"


def _case(case: Case, subject: Subject, world: World) -> dict[str, Any]:
    seen = Probe(subject).run(case.probe)
    arrivals, asked, dialled = world.take(seen.ports, subject.address[1])
    return {
        "id": case.id,
        "client": seen.outcomes,
        "asked": asked,
        "dialled": dialled,
        "arrived": [_shown(arrival) for arrival in arrivals],
        "leaked": _leaks("the client", bytes(seen.got)),
        "unsaid": [text for text in case.expect.unsaid if text.encode() in seen.got],
        "said": case.expect.said.encode() in seen.got,
    }


def _after(setup: str, subject: Subject, world: World) -> dict[str, Any]:
    """What came when no case was running, and whether a secret is on the command line."""
    arrivals, asked, dialled = world.take(set(), subject.address[1])
    return {
        "id": f"after-{setup}",
        "client": [],
        "asked": asked,
        "dialled": dialled,
        "arrived": [_shown(arrival) for arrival in arrivals],
        "leaked": _leaks("its command line", subject.shown()),
    }


def _shown(arrival: Arrival) -> dict[str, Any]:
    requests = [
        {"method": one.method, "target": one.target, "headers": one.headers, "body": one.body.decode("latin-1")}
        for one in arrival.requests
    ]
    return {
        "at": arrival.at,
        "tls": arrival.tls,
        "sni": arrival.sni,
        "requests": requests,
        "stray": bytes(arrival.stray[:200]).decode("latin-1"),
        "secrets": [
            host for host, secret in SECRETS.items() if any(form in arrival.raw for form in forms(secret).values())
        ],
    }


def _leaks(where: str, data: bytes) -> list[str]:
    return sorted(
        {f"{where} ({name})" for secret in SECRETS.values() for name, form in forms(secret).items() if form in data}
    )


def results(observations: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What is wrong in each case that was observed, and in what came between them."""
    cases = {case.id: case for case in CASES}
    return {
        name: violations(cases[name].expect, seen) if name in cases else leftover(seen)
        for name, seen in observations.items()
    }


def _report(observations: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, wrong in results(observations).items():
        yield f"{'FAIL' if wrong else 'ok  '} {name} {'; '.join(wrong)} {observations[name] if wrong else ''}"


def main(arguments: Iterable[str]) -> None:
    """Run inside the namespace if told so; else judge a subject and print what is wrong."""
    match list(arguments):
        case ["--inside", subject, only]:
            for observation in _inside(subject, only):
                print(json.dumps(observation), flush=True)  # noqa: T201 - the outer process reads it
        case [subject, *rest]:
            for line in _report(observe(subject, *rest)):
                print(line)  # noqa: T201 - a command's output


if __name__ == "__main__":
    main(sys.argv[1:])
