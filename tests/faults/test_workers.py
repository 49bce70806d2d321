"""Processes that die or stop: what they were doing ends, the others serve on, and nothing is forwarded twice."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.faulty import Faulty
from tests.support import answers
from tests.support.pki import Authority
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: workers
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
"""


HANG_TIME = 2.0


def started(folder: Path, upstream: Upstream, workers: int, **limits: float) -> Faulty:
    (folder / "proxy").mkdir()
    return Faulty(
        folder / "proxy",
        POLICY,
        connect_to={"good.example:443": upstream.port},
        upstream_ca=(upstream.ca_file,),
        workers=workers,
        limits=limits,
    )


def test_a_stopped_worker_does_not_take_the_others_along(tmp_path: Path) -> None:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream, started(tmp_path, upstream, 2) as proxy:
        first, second = proxy.workers_alive()
        os.kill(first, signal.SIGSTOP)
        try:
            for number in range(10):
                with proxy.tunnel("good.example:443") as client:
                    assert client.request("GET", f"/{number}", "good.example").status == 200
        finally:
            os.kill(first, signal.SIGCONT)
        assert len(proxy.wait_for_events(lambda found: len(found) == 10)) == 10
        assert second in proxy.workers_alive()


@pytest.mark.parametrize("how", ["hangs", "is stopped"])
def test_a_worker_that_no_longer_turns_is_ended(tmp_path: Path, how: str) -> None:
    """Its clients are let go, what ran in it is on record as crashed, and another serves."""
    with (
        Upstream(tmp_path, authority=Authority(tmp_path)) as upstream,
        started(tmp_path, upstream, 1, HANG_TIME=HANG_TIME) as proxy,
        proxy.tunnel("good.example:443") as client,
        proxy.tunnel("good.example:443") as other,
    ):
        upstream.on("/slow", answers.chunked([b"first", upstream.gate()]))
        client.send(b"GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert client.read_head().status == 200
        (worker,) = proxy.workers_alive()
        if how == "is stopped":
            os.kill(worker, signal.SIGSTOP)
            other.send(b"GET /never HTTP/1.1\r\nHost: good.example\r\n\r\n")
            assert other.closed()
        else:
            with proxy.armed("gate request", "hang"):
                other.send(b"GET /never HTTP/1.1\r\nHost: good.example\r\n\r\n")
                assert other.closed()
                assert proxy.was_hit()
        assert b"0\r\n\r\n" not in client.read_to_end()
        events = proxy.wait_for_events(lambda found: any(event["end"] != "open" for event in found))
        assert [(event["path"], event["end"]) for event in events if event["end"] != "open"] == [("/slow", "crashed")]
        with proxy.tunnel("good.example:443") as again:
            assert again.request("GET", "/again", "good.example").status == 200
        assert worker not in proxy.workers_alive()
        assert "/never" not in [request.target for request in upstream.record.requests]


def test_a_killed_supervisor_takes_its_workers_along(tmp_path: Path) -> None:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream:
        upstream.on("/slow", answers.chunked([b"first", upstream.gate()]))
        proxy = started(tmp_path, upstream, 1)
        proxy.limits = {"DRAIN_TIME": 0.5}
        proxy.start()
        try:
            with proxy.tunnel("good.example:443") as client:
                client.send(b"GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n")
                assert client.read_head().status == 200
                (worker,) = proxy.workers_alive()
                os.kill(proxy.ready["pid"], signal.SIGKILL)
                assert b"0\r\n\r\n" not in client.read_to_end()
            events = proxy.wait_for_events(lambda found: len(found) == 1)
            assert events[0]["end"] in ("aborted", "client_closed")
            proxy.wait_for_events(lambda _: not Path(f"/proc/{worker}/stat").exists() or zombie(worker))
            with pytest.raises(ConnectionRefusedError):
                proxy.client()
        finally:
            proxy.kill()


def zombie(pid: int) -> bool:
    """Whether a process has ended and waits for its parent, which here may be nobody."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
