"""An audit log as large as wanted, with oddities planted in it, to measure and try the review commands on.

    python benchmarks/audit_log.py FOLDER --events 10000000 --gzip

FOLDER becomes a state folder: closed files with a valid chain, no checkpoints. The log of the same arguments is always
the same one. What is planted, and where, is printed as JSON and stands in PLANTED.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.audit.chain import genesis, seal
from proxy.audit.segments import closed, packed

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 28
SANDBOXES = 100
FILE_EVENTS = 70_000  # about 64 MiB
DIGEST = "5f" * 32
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# What is planted: all of it in the last of four weeks, but for the slow upload, which takes the whole time.
PLANTED: dict[str, dict[str, str]] = {
    "new host": {"host": "paste.new-host.example", "sandbox": "agent-042"},
    "slow upload": {"host": "telemetry.vendor.example", "sandbox": "agent-077"},
    "credential used once": {"credential": "deploy-key", "host": "deploy.example.com", "sandbox": "agent-013"},
    "cost spike": {"model": "claude-opus-4-1", "sandbox": "agent-007", "day": "2026-10-25"},
    "new method": {"method": "DELETE", "host": "api.github.com", "sandbox": "agent-021"},
    "refused": {"host": "evil.example", "sandbox": "agent-066"},
}

# host, method, path with {n} for a number and {x} for hex digits, rule, credential, usual bytes out and in, weight
_USUAL = (
    ("api.anthropic.com", "POST", "/v1/messages", "anthropic", "anthropic", 40_000, 9_000, 30),
    ("api.openai.com", "POST", "/v1/responses", "openai", "openai", 20_000, 5_000, 8),
    ("api.github.com", "GET", "/repos/acme/app/issues/{n}", "github-read", "github", 0, 4_000, 14),
    ("api.github.com", "POST", "/repos/acme/app/issues/{n}/comments", "github-comment", "github", 600, 900, 2),
    ("registry.packages.example", "GET", "/pool/{x}/pkg-{n}.tgz", "packages", None, 0, 180_000, 20),
    ("docs.example.com", "GET", "/guide/{n}", "docs", None, 0, 30_000, 12),
    ("telemetry.vendor.example", "POST", "/v2/events", "telemetry", None, 900, 60, 6),
    ("files.example.org", "GET", "/blob/{x}", "files", None, 0, 70_000, 8),
)
_REFUSED = (
    ("stats.tracker.example", "POST", "/collect", "host_not_allowed", 3),
    ("api.github.com", "POST", "/repos/acme/other/issues", "path_not_allowed", 1),
    ("docs.example.com", "POST", "/search", "method_not_allowed", 1),
)
_MODELS = {
    "api.anthropic.com": ("anthropic", "messages", ("claude-sonnet-4-5", "claude-haiku-4-5")),
    "api.openai.com": ("openai", "responses", ("gpt-5", "house-model-7")),
}


def ulid(milliseconds: int, random: Random) -> str:
    """A ULID of that time."""
    value = milliseconds << 80 | random.getrandbits(80)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def usual(number: int, total: int, random: Random) -> dict[str, Any]:
    """One event of everyday work, `number` of `total` in time."""
    if random.random() < 0.03:
        host, method, path, reason, _ = random.choices(_REFUSED, [each[-1] for each in _REFUSED])[0]
        return made(number, total, random, host, method, path, reason=reason)
    host, method, path, rule, credential, out, come, _ = random.choices(_USUAL, _WEIGHTS)[0]
    path = path.replace("{n}", str(random.randrange(1, 4000)))
    path = path.replace("{x}", f"{random.getrandbits(128):032x}") if "{x}" in path else path
    sizes = {"bytes_out": int(out * (0.5 + random.random())), "bytes_in": int(come * (0.5 + random.random()))}
    return made(number, total, random, host, method, path, rule=rule, credential=credential, **sizes)


_WEIGHTS = [each[-1] for each in _USUAL]


def made(  # noqa: PLR0913, PLR0917  an event is made of much
    number: int, total: int, random: Random, host: str, method: str, path: str, *, reason: str = "allowed", **given: Any
) -> dict[str, Any]:
    """An event with every field."""
    time = START + timedelta(milliseconds=int(number / total * DAYS * 86_400_000))
    passed = reason == "allowed"
    llm = _llm(host, random, given.pop("model", None)) if passed and host in _MODELS else None
    return {
        "v": 1,
        "id": ulid(int(time.timestamp() * 1000), random),
        "time": time.isoformat(timespec="milliseconds"),
        "sandbox": f"agent-{random.randrange(SANDBOXES):03}",
        "policy": "web-app-agent",
        "policy_digest": DIGEST,
        "client": f"127.0.0.1:{random.randrange(30000, 60000)}",
        "boundary": "namespace",
        "scheme": "https",
        "method": method,
        "host": host,
        "port": 443,
        "path": path,
        "query_keys": [],
        "verdict": "allow" if passed else "deny",
        "reason": reason,
        "rule": None,
        "nearest": None if passed or reason == "host_not_allowed" else "github-read",
        "detail": "",
        "credential": None,
        "injected": bool(given.get("credential")),
        "not_injected": None,
        "upstream_ip": "192.0.2.7" if passed else None,
        "tls": "TLSv1.3" if passed else None,
        "status": 200 if passed else 403,
        "bytes_in": 0,
        "bytes_out": 0,
        "ttfb_ms": round(random.random() * 300, 3) if passed else None,
        "duration_ms": round(random.random() * 900, 3),
        "end": "complete" if passed else "refused",
        "llm": llm,
        **given,
    }


def _llm(host: str, random: Random, model: str | None) -> dict[str, Any]:
    provider, api, models = _MODELS[host]
    put, came = random.randrange(500, 60_000), random.randrange(20, 3000)
    cached = int(put * random.random())
    return {
        "provider": provider, "api": api, "model": model or random.choice(models), "answers": 1, "input": put,
        "cached_input": cached, "cache_write": None, "cache_write_1h": None, "output": came, "reasoning": None,
        "searches": None, "tier": None, "cost_usd": None, "raw": {"input_tokens": put - cached, "output_tokens": came},
        "partial": False, "not_metered": None,
    }  # fmt: skip


def planted(total: int) -> dict[int, list[dict[str, Any]]]:
    """The oddities, by the number of the event that they follow."""
    random, found = Random(7), {}  # noqa: S311  a log that can be made again

    def plant(share: float, host: str, method: str, path: str, **given: Any) -> None:
        number = min(total - 1, int(total * share))
        found.setdefault(number, []).append(made(number, total, random, host, method, path, **given))

    for step in range(5):
        plant(0.90 + step / 100, PLANTED["new host"]["host"], "POST", f"/api/{step}", sandbox="agent-042", rule="any")
    for hour in range(DAYS * 24):  # 80 kB an hour, beside thousands of small ones that are usual
        plant(hour / (DAYS * 24), "telemetry.vendor.example", "POST", "/v2/events", sandbox="agent-077",
              rule="telemetry", bytes_out=80_000 * max(1, total // 1_000_000))  # fmt: skip
    plant(0.93, "deploy.example.com", "POST", "/hooks/run", sandbox="agent-013", rule="deploy",
          credential="deploy-key", injected=True)  # fmt: skip
    spike = {"input": 900_000, "cached_input": None, "output": 60_000}
    for step in range(max(20, total // 5000)):
        plant(24.2 / DAYS + step / total, "api.anthropic.com", "POST", "/v1/messages", sandbox="agent-007",
              rule="anthropic", credential="anthropic", model="claude-opus-4-1")  # fmt: skip
        next(reversed(found.values()))[-1]["llm"] |= spike
    plant(0.95, "api.github.com", "DELETE", "/repos/acme/app", sandbox="agent-021", rule="any", credential="github")
    for step in range(40):
        plant(0.96 + step / 2000, "evil.example", "GET", "/x", sandbox="agent-066", reason="host_not_allowed")
    return found


def lines(worker: int, workers: int, total: int) -> Iterator[bytes]:
    """The lines of one worker, without chain."""
    random, odd = Random(worker), planted(total) if worker == 0 else {}  # noqa: S311
    dump = json.JSONEncoder(separators=(",", ":")).encode
    for number in range(worker, total, workers):
        yield dump(usual(number, total, random)).encode() + b"\n"
        if worker == 0:
            for share in range(number, number + workers):
                for each in odd.get(share, ()):
                    yield dump(each).encode() + b"\n"


def write(folder: Path, worker: int, workers: int, total: int, *, compress: bool = False) -> int:
    """Write the closed files of one worker, with their chain. Returns how many lines there are."""
    audit, log = folder / "audit", f"worker-{worker}"
    audit.mkdir(parents=True, exist_ok=True, mode=0o700)
    seq, value = genesis(log)
    file = None
    for line in lines(worker, workers, total):
        if seq % FILE_EVENTS == 0:
            if file is not None:
                file.close()
            path = closed(audit, log, seq + 1)
            file = gzip.open(packed(path), "wb", 6) if compress else path.open("wb", 1 << 20)  # noqa: SIM115
        sealed, value = seal(line, seq + 1, value, first=seq % FILE_EVENTS == 0)
        seq += 1
        file.write(sealed)
    if file is not None:
        file.close()
    return seq


def main() -> None:
    """Write the log that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gzip", action="store_true")
    asked = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        ways = [
            pool.submit(write, asked.folder, worker, asked.workers, asked.events, compress=asked.gzip)
            for worker in range(asked.workers)
        ]
        print(json.dumps({"lines": sum(way.result() for way in ways), "planted": PLANTED}, indent=2))


if __name__ == "__main__":
    main()
