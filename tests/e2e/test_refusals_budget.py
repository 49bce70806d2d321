"""Refusals have a budget: one connection cannot have the record written without end."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from proxy import limits
from tests.e2e.test_http2 import Client, fields
from tests.support.outgate import Outgate
from tests.support.rawclient import Answer, ClosedError, RawClient
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: budget
allow:
  - {id: good, why: w, hosts: [good.example], access: any, paths: [/good], http2: true}
"""
MANY = limits.MAX_REFUSALS
PLAIN = b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
INTERNAL = b"GET http://outgate.internal/nothing HTTP/1.1\r\nHost: outgate.internal\r\n\r\n"

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream) -> Outgate:
    return start_outgate(POLICY, connect_to={"good.example:443": upstream.port})


def told(client: RawClient) -> list[Answer]:
    """All answers until the proxy closes."""
    answers = []
    try:
        for _ in itertools.repeat(None):
            answers.append(client.read())
    except (ClosedError, ConnectionError):
        return answers


def recorded(outgate: Outgate, count: int) -> Counter[Any]:
    """How often each reason is on record, once as many are."""
    return Counter(event["reason"] for event in outgate.wait_for_events(lambda found: len(found) >= count))


def check(outgate: Outgate, count: int, reason: str) -> None:
    """So many on record, of which the last is for their number. On a slow machine the budget fills up meanwhile."""
    assert MANY + 2 <= count < 2 * MANY
    assert recorded(outgate, count) == {reason: count - 1, "limit_exceeded": 1}


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [(PLAIN, 403, "host_not_allowed"), (INTERNAL, 404, "allowed")],
    ids=["refused", "internal"],
)
@pytest.mark.parametrize("pipelined", [True, False])
def test_after_so_many_refusals_one_more_says_so_and_the_connection_ends(
    outgate: Outgate, data: bytes, status: int, reason: str, pipelined: bool
) -> None:
    with outgate.client() as client:
        if pipelined:
            client.send(data * (MANY + 50))
            answers = told(client)
        else:
            answers = []
            for _ in range(2 * MANY):
                client.send(data)
                answers.append(client.read())
                if answers[-1].header("connection") == "close":
                    break
            assert client.closed()
    assert [answers[0].status, answers[-1].status] == [status, 429]
    check(outgate, len(answers), reason)


def test_streams_of_one_read_do_not_get_past_it(outgate: Outgate) -> None:
    client = Client(outgate, "good.example")
    bad = fields("/bad", host="good.example")
    for _ in range(MANY - 5):
        assert client.ask(bad).status == 403
    for _ in range(90):
        client.h2.send_headers(client.h2.get_next_available_stream_id(), bad, end_stream=True)
    client.socket.sendall(client.h2.data_to_send())
    while client.socket.recv(65536):
        pass
    with outgate.tunnel("good.example:443") as neighbour:  # an event more, and all of the others are written
        assert neighbour.request("GET", "/good", "good.example").status == 200
    events = outgate.wait_for_events(lambda found: any(event["path"] == "/good" for event in found))
    reasons = Counter(event["reason"] for event in events if event["path"] == "/bad")
    assert reasons == {"path_not_allowed": sum(reasons.values()) - 1, "limit_exceeded": 1}
    assert MANY + 2 <= sum(reasons.values()) < MANY + 50, "nothing that was read with the last one is judged"


def test_a_client_without_a_token_is_challenged_so_often_and_no_more(start_outgate: Start) -> None:
    other = POLICY.replace("name: budget", "name: other")
    outgate = start_outgate({"one.yaml": POLICY, "two.yaml": other})
    with outgate.client() as client:
        answers = []
        for _ in range(2 * MANY):
            answers.append(client.connect("good.example:443"))
            if answers[-1].status != 407:
                break
        assert client.closed()
    assert answers[-1].status == 429
    check(outgate, len(answers), "unauthenticated")


def test_what_passes_costs_nothing_and_few_refusals_end_nothing(outgate: Outgate) -> None:
    with outgate.tunnel("good.example:443") as client:
        for number in range(MANY + 20):
            path = "/bad" if number % 2 else "/good"
            assert client.request("GET", path, "good.example").status == (403 if number % 2 else 200)
