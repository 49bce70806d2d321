"""Fail closed, shown by injection into the running proxy.

At each point of `points.py` an exception, a hang and a cancellation: the client gets a refusal or a closed connection,
the upstream gets no byte (or not one more than it had), and the exchange is on record once.
"""

import itertools
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.faults.faulty import Faulty
from tests.faults.points import points
from tests.support import answers
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient
from tests.support.upstream import Upstream

SECRET = "canary-value-0123456789-abcdef"
BODY = b"body of the answer"
POLICY = """
version: 1
name: broken
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
  - {id: unmapped, why: w, hosts: [unmapped.example], access: any}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""

BEFORE = "before"  # the request must not have left
DURING = "during"  # the request has left; no answer may look whole
AFTER = "after"  # the exchange is done; its record is what can go wrong
TICK = "tick"  # reached once a second while a connection is open
RELOAD = "reload"  # reached when a policy changes: test_reload.py

# When each point is reached. What is in points.py and not here fails a test.
PHASES = {
    "hook next_layer": BEFORE,
    "hook tls_clienthello": BEFORE,
    "hook tls_start_client": BEFORE,
    "hook tls_established_client": BEFORE,
    "hook tls_start_server": BEFORE,
    "hook http_connect": BEFORE,
    "hook requestheaders": BEFORE,
    "hook responseheaders": DURING,
    "hook error": AFTER,
    "hook client_disconnected": AFTER,
    "gate connect": BEFORE,
    "gate server_name": BEFORE,
    "gate request": BEFORE,
    "gate upstream_head": BEFORE,
    "gate answer": BEFORE,
    "gate note_refusal": BEFORE,
    "gate finish": AFTER,
    "gate greeted": BEFORE,
    "gate intercepted": BEFORE,
    "gate outlived": BEFORE,
    "gate note_long": TICK,
    "gate close": AFTER,
    "gate cut_outgrown": RELOAD,
    "dialer": BEFORE,
    "resolver": BEFORE,
    "connect": BEFORE,
    "credential source": BEFORE,
    "mask": BEFORE,
    "mask of an answer": DURING,
    "body filter": DURING,
    "end of the body filter": DURING,
    "audit begin": BEFORE,
    "audit finish": AFTER,
    "audit file": BEFORE,
    "client certificate": BEFORE,
    "upstream verification": BEFORE,
    "upstream check": BEFORE,
    "upstream head": BEFORE,
    "policy reload": RELOAD,
    "lane client bytes": BEFORE,
    "lane client step": BEFORE,
    "lane hello": BEFORE,
    "lane leaf": BEFORE,
    "lane upstream": BEFORE,
    "lane connected": BEFORE,
    "lane upstream check": BEFORE,
    "lane answer": DURING,
    "lane answer piece": DURING,
    "lane client gone": AFTER,
}
# What one lane alone comes by; every other point is on the way of both.
OTHER_ONLY = ("client certificate", "upstream verification", "upstream check", "upstream head")


def lanes_of(point: str) -> list[str]:
    if point.startswith("lane "):
        return ["fast"]
    return ["other"] if point.startswith("hook ") or point in OTHER_ONLY else ["fast", "other"]


def both(points: Iterable[str]) -> list[tuple[str, str]]:
    """Each point on each lane that it is in; one lane after the other, as each needs a proxy of its own."""
    points = list(points)
    return [(lane, point) for lane in ("fast", "other") for point in points if lane in lanes_of(point)]


ASYNCHRONOUS = ("connect", "resolver")
# Where the point is not on the way to the upstream.
HOSTS = {"resolver": "unmapped.example", "gate answer": "outgate.internal", "gate note_refusal": "denied.example"}


@dataclass
class World:
    """One proxy and one upstream for all cases. `marks` number the requests that show that it serves on."""

    proxy: Faulty
    upstream: Upstream
    marks: Iterator[int] = field(default_factory=itertools.count)

    def attempt(self, point: str) -> str:
        """Ask for what reaches the point: `whole` answer, `refused`, or `closed` without a whole answer."""
        host = HOSTS.get(point, "good.example")
        path = "/cut" if point in ("hook error", "lane client gone") else "/slow" if PHASES[point] == TICK else "/x"
        with self.proxy.client() as client:
            try:
                return _ask(client, self.proxy, host, path)
            except (ClosedError, ConnectionError):
                return "closed"
            except TimeoutError as error:
                raise AssertionError("the client is left waiting") from error
            except OSError:  # out of the TLS handshake
                return "closed"

    def ids(self) -> list[str]:
        """Of each exchange that ended: its id."""
        return [str(event["id"]) for event in self.proxy.events() if event["end"] != "open"]

    def settle(self, before: list[str]) -> list[str]:
        """The ids that were recorded since, once the next exchange has its event: nothing is on its way any more."""
        number = next(self.marks)
        with self.proxy.tunnel("good.example:443") as client:
            answer = client.request("GET", f"/mark/{number}", "good.example", {"Connection": "close"})
            assert answer.status == 200, "it serves on"
            assert client.closed(), "what is armed next must not break the end of this one"
        self.proxy.wait_for_events(lambda found: any(event["path"] == f"/mark/{number}" for event in found))
        return [
            str(event["id"])
            for event in self.proxy.events()
            if event["id"] not in before and event["end"] != "open" and not str(event["path"]).startswith("/mark/")
        ]


def _ask(client: RawClient, proxy: Faulty, host: str, path: str) -> str:
    connected = client.connect(f"{host}:443")
    if connected.status != 200:
        return "refused"
    client.tls(host, ca_file=proxy.ca_file)
    answer = client.request("POST", path, host, None, b"abc")
    if not answer.complete:
        return "closed"
    return "refused" if answer.header("proxy-status") else "whole"


@pytest.fixture(scope="module", params=["fast", "other"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, lane: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with Upstream(folder, authority=Authority(folder)) as upstream:
        upstream.otherwise(answers.chunked([BODY]))
        upstream.on("/cut", answers.chunked([BODY], whole=False))
        upstream.on("/slow", answers.chunked([BODY, upstream.gate()]))
        proxy = Faulty(
            folder / "proxy",
            POLICY,
            connect_to={"good.example:443": upstream.port},
            upstream_ca=(upstream.ca_file,),
            environ={"KEY": SECRET},
            lane=lane,
            limits={"RESOLVE_TIME": 0.5, "DIAL_TIME": 1.0, "DRAIN_TIME": 0.5, "KEPT_TIME": 0.0, "KEPT_TIME_ONCE": 0.0},
        )
        proxy.folder.mkdir()
        with proxy:
            yield World(proxy, upstream)


def test_every_point_has_a_case() -> None:
    assert set(PHASES) == set(points())


def test_nothing_is_broken_until_it_is_armed(world: World) -> None:
    assert world.attempt("gate request") == "whole"


# The points that are reached before or while an exchange runs.
PASSING = [point for point in PHASES if PHASES[point] not in (AFTER, RELOAD)]


@pytest.mark.parametrize(("lane", "point"), both(PASSING), indirect=["lane"], scope="module")
def test_what_raises_lets_nothing_pass(world: World, point: str) -> None:
    before, reached, sent = world.ids(), len(world.upstream.record.raw()), len(world.upstream.record.requests)
    workers = world.proxy.workers_alive()
    with world.proxy.armed(point, "raise"):
        outcome = world.attempt(point)
        assert world.proxy.was_hit()
    assert outcome in ("refused", "closed")
    if PHASES[point] == BEFORE:
        assert len(world.upstream.record.raw()) == reached
    assert len(world.upstream.record.requests) - sent <= 1
    assert len(world.settle(before)) == 1
    assert world.proxy.workers_alive() == workers


@pytest.mark.parametrize(("lane", "point"), both(PASSING), indirect=["lane"], scope="module")
def test_a_cancelled_task_leaves_nobody_waiting_and_passes_no_half(world: World, point: str) -> None:
    """A cancellation takes effect at the next wait: until then the exchange, which was judged, may get whole."""
    before, sent = world.ids(), len(world.upstream.record.requests)
    with world.proxy.armed(point, "cancel"):
        outcome = world.attempt(point)
        assert world.proxy.was_hit()
    new = world.upstream.record.requests[sent:]
    assert len(new) <= 1
    assert outcome != "whole" or [request.body for request in new] == [b"abc"]
    assert len(world.settle(before)) == 1


@pytest.mark.parametrize("kind", ["raise", "cancel"])
@pytest.mark.parametrize(
    ("lane", "point"), both(point for point in PHASES if PHASES[point] == AFTER), indirect=["lane"], scope="module"
)
def test_a_record_that_fails_is_made_up_for(world: World, point: str, kind: str) -> None:
    before, sent = world.ids(), len(world.upstream.record.requests)
    with world.proxy.armed(point, kind):
        world.attempt(point)
        world.proxy.wait_for_events(lambda _: world.proxy.was_hit())
    world.proxy.signal_worker(signal.SIGKILL)
    assert len(world.upstream.record.requests) == sent + 1
    assert len(set(world.settle(before))) == 1


@pytest.mark.parametrize(("lane", "point"), both(ASYNCHRONOUS), indirect=["lane"], scope="module")
def test_what_waits_for_ever_is_given_up(world: World, point: str) -> None:
    before, reached = world.ids(), len(world.upstream.record.raw())
    with world.proxy.armed(point, "hang"):
        assert world.attempt(point) in ("refused", "closed")
    assert len(world.upstream.record.raw()) == reached
    assert len(world.settle(before)) == 1


HANGING = [
    name for name in PHASES if PHASES[name] in (BEFORE, DURING) and name not in ASYNCHRONOUS and name != "dialer"
]


@pytest.mark.parametrize(
    ("lane", "point"),
    [
        (lane, name)
        if name in ("hook requestheaders", "credential source")
        else pytest.param(lane, name, marks=pytest.mark.slow)
        for lane, name in both(HANGING)
        if name != "lane upstream"  # asynchronous
    ],
    indirect=["lane"],
    scope="module",
)
def test_a_hang_sends_nothing_and_ends_with_its_worker(world: World, point: str) -> None:
    before, reached, sent = world.ids(), len(world.upstream.record.raw()), len(world.upstream.record.requests)
    with ThreadPoolExecutor(1) as background, world.proxy.armed(point, "hang"):
        waiting = background.submit(world.attempt, point)
        world.proxy.wait_for_events(lambda _: world.proxy.was_hit())
        if PHASES[point] == BEFORE:
            assert len(world.upstream.record.raw()) == reached
        world.proxy.signal_worker(signal.SIGKILL)
        assert waiting.result() == "closed"
    assert len(world.upstream.record.requests) - sent == (PHASES[point] == DURING)
    # What had not been judged when its worker died was not forwarded, and has no event.
    recorded = world.settle(before)
    assert len(recorded) == 1 if PHASES[point] == DURING else len(recorded) <= 1


@pytest.mark.parametrize(
    ("lane", "point"),
    both(["hook requestheaders", "hook tls_clienthello", "audit begin", "upstream check", "lane upstream check"]),
    indirect=["lane"],
    scope="module",
)
def test_a_cancellation_that_nobody_sent_leaves_nobody_waiting(world: World, point: str) -> None:
    """`CancelledError` is no `Exception`, and ends a task without a word."""
    before, reached = world.ids(), len(world.upstream.record.raw())
    with world.proxy.armed(point, "cancelled"):
        assert world.attempt(point) in ("refused", "closed")
    assert len(world.upstream.record.raw()) == reached
    assert len(world.settle(before)) == 1


def test_an_audit_log_that_becomes_full_refuses(world: World) -> None:
    sent, before = len(world.upstream.record.requests), world.ids()
    with world.proxy.armed("audit file", "full"):
        assert world.attempt("audit file") == "refused"
    assert len(world.upstream.record.requests) == sent
    assert len(world.settle(before)) == 1
