"""Whether the number of rules matters: CPU for each decision, and how long a policy of that many takes until it serves.

`python -m benchmarks.rules POLICY COUNT` is the process that decides.
"""

import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.engines.engine import Site
from benchmarks.engines.outgate import Served
from proxy.config.load import load_policy
from proxy.policy.decide import decide
from proxy.policy.host import parse_host
from proxy.policy.request import Request
from proxy.policy.rules import Policy

COUNTS = (10, 100_000)
ROOT = Path(__file__).parents[1]
_FILE = 8_000  # rules in one file: a file has at most 1 MiB
_TODAY = date(2026, 11, 20)
_DECISIONS, _BATCHES = 4_000, 8


def measured(site: Site, rounds: int) -> dict[str, dict[str, list[float]]]:
    """By number of rules: microseconds of CPU for a decision, seconds until a proxy serves."""
    found: dict[str, dict[str, list[float]]] = {str(count): {"decide_us": [], "start_s": []} for count in COUNTS}
    for turn in range(rounds):
        for count in COUNTS:
            folder = site.folder / f"rules-{turn}-{count}"
            folder.mkdir()
            found[str(count)]["start_s"].append(_started(folder, count, site))
            command = [sys.executable, "-m", "benchmarks.rules", str(folder / "outgate/policies/test.yaml"), str(count)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found[str(count)]["decide_us"].append(float(f"{json.loads(done.stdout):.4g}"))
    return found


def _started(folder: Path, count: int, site: Site) -> float:
    proxy = Served().instance(Site(folder, site.ca_file, site.ports), "")
    proxy.patience = 300.0
    main, *others = files(count)
    proxy.policy = main
    proxy.policies.mkdir()
    for number, text in enumerate(others):
        (proxy.policies / f"part-{number}.yaml").write_text(text)
    begun = time.monotonic()
    proxy.start()
    taken = time.monotonic() - begun
    proxy.kill()
    return float(f"{taken:.4g}")


def files(count: int) -> list[str]:
    """A policy of so many rules, one host each: the file that extends the others, and those."""
    lines = [f"  - {{id: rule-{index}, why: bench, hosts: [h{index}.rules.example]}}\n" for index in range(count)]
    parts = ["".join(lines[start : start + _FILE]) for start in range(0, count, _FILE)]
    names = ", ".join(f"part-{number}" for number in range(len(parts)))
    main = f"version: 1\nname: rules\nextends: [{names}]\n"
    return [main, *(f"version: 1\nname: part-{number}\nallow:\n{part}" for number, part in enumerate(parts))]


def main() -> None:
    """Print the microseconds of CPU for one decision, the best of some batches, about hosts spread over all rules."""
    policy, count = load_policy(Path(sys.argv[1])), int(sys.argv[2])
    # The same number of different hosts, so that the processor's caches have no say.
    hosts = [parse_host(f"h{index * count // 10}.rules.example") for index in range(10)]
    requests = [
        Request("https", host, 443, "GET", f"/v1/{number}") for number in range(_DECISIONS // 10) for host in hosts
    ]
    assert all(decide(policy, request, _TODAY).allowed for request in requests[:10])
    print(json.dumps(min(_seconds(policy, requests) for _ in range(_BATCHES)) / len(requests) * 1e6))


def _seconds(policy: Policy, requests: list[Request]) -> float:
    begun = time.process_time()
    for request in requests:
        decide(policy, request, _TODAY)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
