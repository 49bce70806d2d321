"""HTTP/2 to the upstream: what waits for it can be cancelled, and what it finishes reaches the client."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from h2.errors import ErrorCodes

from tests.e2e.test_http2 import POLICY, SECRET, Client, fields
from tests.support.outgate import Outgate
from tests.support.upstream_h2 import GoAway, H2Answer, H2Upstream

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, h2_upstream: H2Upstream) -> Outgate:
    return start_outgate(POLICY, connect_to={"good.example:443": h2_upstream.port}, environ={"KEY": SECRET})


def seen(upstream: H2Upstream) -> list[str]:
    return [request.target for request in upstream.record.requests]


def until_read(client: Client) -> None:
    """Wait until all that was sent has been read: a refusal comes back after it."""
    assert client.ask(fields("/a/../b")).status == 403


def test_a_request_that_is_cancelled_while_it_waits_is_never_sent(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.max_streams = 1
    h2_upstream.answers["/slow"] = H2Answer(parts=(b"a", gate))
    client = Client(outgate, "good.example")
    slow = client.start(fields("/slow"))
    client.wait(slow, body=b"a")
    waiting = [client.start(fields(f"/cancelled-{number}")) for number in range(3)]
    kept = client.start(fields("/kept", method="POST"), end=False)
    client.h2.send_data(kept, b"body", end_stream=True)
    client.flush()
    until_read(client)
    for stream in waiting:
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    cancelled = outgate.wait_for_events(lambda found: len(found) == 4)[1:]
    assert {(event["end"], event["injected"]) for event in cancelled} == {("client_closed", False)}
    gate.open()
    assert (client.wait(slow).ended, client.wait(kept).status) == (True, 200)
    assert seen(h2_upstream) == ["/slow", "/kept"]
    assert (h2_upstream.record.last.body, h2_upstream.record.last.values("x-api-key")) == (b"body", [SECRET])
    events = outgate.wait_for_events(lambda found: len(found) == 6)
    assert {event["path"]: event["injected"] for event in events[4:]} == {"/slow": True, "/kept": True}


def test_a_request_that_waits_was_judged_by_the_policy_of_its_head(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.max_streams = 1
    h2_upstream.answers["/slow"] = H2Answer(parts=(b"a", gate))
    client = Client(outgate, "good.example")
    client.wait(client.start(fields("/slow")), body=b"a")
    waits = client.start(fields("/waits"))
    until_read(client)
    outgate.write_policy(POLICY.replace('"/**"', '"/other"'))
    outgate.wait_for_reload(2)
    assert client.ask(fields("/waits")).status == 403
    gate.open()
    assert client.wait(waits).status == 200
    assert h2_upstream.record.last.values("x-api-key") == [SECRET]


def test_an_upstream_that_leaves_finishes_what_it_began(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.answers["/long"] = H2Answer(parts=(GoAway(1), b"first", gate, b"second"))
    client = Client(outgate, "good.example")
    long = client.start(fields("/long"))
    client.wait(long, body=b"first")
    assert client.ask(fields("/next")).status == 200
    assert len(h2_upstream.record.connections) == 2, "a connection that is left takes nothing new"
    gate.open()
    reply = client.wait(long)
    assert (reply.body, reply.ended) == (b"firstsecond", True)
    h2_upstream.record.wait(lambda record: record.connections[0].closed)
    assert client.ask(fields("/after")).status == 200
    events = outgate.wait_for_events(lambda found: len(found) == 3)
    assert {event["end"] for event in events} == {"complete"}


def test_what_a_leaving_upstream_does_not_take_fails_readably(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.max_streams = 2
    h2_upstream.answers["/long"] = H2Answer(parts=(b"first", gate, GoAway(1), b"second"))
    client = Client(outgate, "good.example")
    long = client.start(fields("/long"))
    client.wait(long, body=b"first")
    unanswered = client.start(fields("/unanswered", method="POST"), end=False)
    h2_upstream.record.wait(lambda record: len(record.requests) == 2)
    waits = client.start(fields("/waits"))
    until_read(client)
    gate.open()
    replies = [client.wait(stream, body=None) for stream in (waits, long)]
    assert (replies[0].status, replies[1].body) == (502, b"firstsecond")
    client.h2.end_stream(unanswered)
    client.flush()
    assert client.wait(unanswered).status == 502
    events = outgate.wait_for_events(lambda found: len(found) == 4)
    told = {event["path"]: (event["verdict"], event["reason"], event["injected"]) for event in events}
    assert told["/unanswered"] == ("allow", "upstream_unreachable", True)
    assert told["/waits"] == ("deny", "upstream_unreachable", False), "it never went anywhere"
    assert told["/long"] == ("allow", "allowed", True)


def test_what_waits_for_an_upstream_that_closes_is_answered(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    h2_upstream.max_streams = 1
    gate = h2_upstream.gate()
    h2_upstream.answers["/slow"] = H2Answer(parts=(b"a", gate, GoAway(0)))
    client = Client(outgate, "good.example")
    client.wait(client.start(fields("/slow")), body=b"a")
    waits = client.start(fields("/waits"))
    until_read(client)
    gate.open()
    assert client.wait(waits).status == 502


def test_an_upstream_may_answer_and_want_no_more_of_the_request(outgate: Outgate, h2_upstream: H2Upstream) -> None:
    gate = h2_upstream.gate()
    h2_upstream.answers["/up"] = H2Answer(413, parts=(b"too large",), early=True, reset=gate)
    client = Client(outgate, "good.example")
    upload = client.start(fields("/up", method="POST"), end=False)
    client.wait(upload, body=b"too large")
    assert client.ask(fields("/ok")).status == 200
    gate.open()
    assert client.ask(fields("/ok")).status == 200
    reply = client.wait(upload, body=b"too large")
    assert (reply.status, reply.closed) == (413, False)
    if not reply.ended:
        client.h2.end_stream(upload)
        client.flush()
    assert client.wait(upload).ended
    events = outgate.wait_for_events(lambda found: len(found) == 3)
    assert {event["status"]: event["end"] for event in events} == {200: "complete", 413: "complete"}


@pytest.mark.parametrize(
    "answer",
    [H2Answer(parts=()), H2Answer(parts=(b"ok",), trailers=(("content-length", "2"),))],
    ids=["head", "trailers"],
)
def test_an_answer_of_another_length_than_it_says_is_not_whole(
    outgate: Outgate, h2_upstream: H2Upstream, answer: H2Answer
) -> None:
    h2_upstream.answers["/other"] = replace(answer, headers=(("content-length", "10"),))
    h2_upstream.answers["/unchanged"] = H2Answer(304, (("content-length", "10"),), parts=())
    client = Client(outgate, "good.example")
    reply = client.ask(fields("/other"))
    assert reply.closed or reply.status == 502
    assert client.ask(fields("/unchanged")).status == 304
    assert client.ask(fields("/unchanged", method="HEAD")).ended
    other, *unchanged = outgate.wait_for_events(lambda found: len(found) == 3)
    assert (other["end"], other["reason"]) in {("upstream_closed", "allowed"), ("refused", "upstream_unreachable")}
    assert [event["end"] for event in unchanged] == ["complete", "complete"]
