"""The audit log of a real proxy: closed and compressed as it grows, verified while it is written and after a crash."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from proxy.review.log import Log
from tests.support.outgate import Outgate, run_outgate
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: kept
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
"""

type Start = Callable[..., Outgate]


def ask(outgate: Outgate, first: int, count: int) -> None:
    with outgate.tunnel("good.example:443") as client:
        for number in range(first, first + count):
            assert client.request("GET", f"/{number}", "good.example").status == 200


def verified(outgate: Outgate) -> dict[str, int]:
    """The last line of each log, and up to where a checkpoint vouches for it; the log must be intact."""
    done = run_outgate(outgate.folder, "audit", "verify", "--state", str(outgate.state), "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (0, "intact"), done.stdout
    return {chain["log"]: chain["vouched"] for chain in found["logs"][0]["chains"]}


def paths(outgate: Outgate) -> list[str]:
    log = Log([str(outgate.state)])
    found = sorted((each.path for each in log), key=lambda path: int(path[1:]))
    assert log.skipped == 0, log.named
    return found


def test_a_log_is_closed_compressed_verified_and_goes_on_after_crash_and_restart(
    start_outgate: Start, upstream: Upstream
) -> None:
    arguments = ("--audit-max-bytes", "16KiB")
    given = {"connect_to": {"good.example:443": upstream.port}, "arguments": arguments}
    outgate = start_outgate(POLICY, **given)
    audit = outgate.state / "audit"
    ask(outgate, 0, 60)
    outgate.wait_until(lambda: len(paths(outgate)) == 60 and not list(audit.glob("worker-0.*.jsonl")))
    assert len(list(audit.glob("worker-0.*.jsonl.gz"))) >= 2
    verified(outgate)
    outgate.wait_until(lambda: len(children(outgate.ready["pid"])) == 1)  # whoever compressed has ended
    (worker,) = children(outgate.ready["pid"])
    os.kill(worker, signal.SIGKILL)
    outgate.wait_until(lambda: "worker ended" in outgate.stderr)
    ask(outgate, 60, 10)
    verified(outgate)
    outgate.stop()
    assert paths(outgate) == [f"/{number}" for number in range(70)]
    assert verified(outgate) == {"policy": 1, "worker-0": 70}
    assert (outgate.state / "audit-key.pem").stat().st_mode & 0o777 == 0o600
    assert not list(audit.glob(".*"))
    outgate.start()
    ask(outgate, 70, 1)
    outgate.stop()
    assert verified(outgate) == {"policy": 2, "worker-0": 71}


def test_events_on_standard_output_and_nothing_else(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(
        POLICY, connect_to={"good.example:443": upstream.port}, workers=2, arguments=("--audit", "stdout")
    )
    ask(outgate, 0, 3)
    ask(outgate, 3, 3)
    outgate.stop()
    events = [json.loads(line) for line in outgate.stdout.splitlines()]
    assert sorted(event["path"] for event in events) == [f"/{number}" for number in range(6)]
    assert {event["end"] for event in events} == {"complete"}
    assert "outgate listens on" in outgate.stderr
    assert not list((outgate.state / "audit").glob("worker-*.jsonl*"))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
