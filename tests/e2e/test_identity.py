"""Identity: which sandbox asks, and so which policy holds."""

import base64
from collections.abc import Callable

import pytest

from tests.support import answers
from tests.support.outgate import Outgate, run_outgate
from tests.support.upstream import Upstream

ONE = """
version: 1
name: one
allow:
  - {id: first, why: w, hosts: [first.example], access: any, credential: key}
credentials:
  key: {from: "env:KEY", hosts: [first.example], inject: {bearer: true}, placeholder: KEY}
"""
TWO = """
version: 1
name: two
allow:
  - {id: second, why: w, hosts: [second.example], access: any}
  - {id: plain, why: w, hosts: [plain.example], schemes: [http]}
"""
SECRET = "canary-value-0123456789-abcdef"

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream) -> Outgate:
    mapping = {f"{host}.example:443": upstream.port for host in ("first", "second")}
    return start_outgate({"one.yaml": ONE, "two.yaml": TWO}, connect_to=mapping, environ={"KEY": SECRET})


def credentials(outgate: Outgate, policy: str, *more: str) -> str:
    """The Proxy-Authorization of a sandbox, as a client makes it of the proxy's URL."""
    url = outgate.env("--policy", policy, *more)["HTTPS_PROXY"]
    return "Basic " + base64.b64encode(url.removeprefix("http://").partition("@")[0].encode()).decode()


def test_the_token_selects_policy_and_name(outgate: Outgate) -> None:
    with outgate.client() as client:
        shown = {"Proxy-Authorization": credentials(outgate, "one", "--name", "task-1")}
        assert client.connect("first.example:443", shown).status == 200
        client.tls("first.example", ca_file=outgate.ca_file)
        assert client.request("GET", "/", "first.example").status == 200
    with outgate.client() as client:
        assert client.connect("first.example:443", {"Proxy-Authorization": credentials(outgate, "two")}).status == 200
        client.tls("first.example", ca_file=outgate.ca_file)
        assert client.request("GET", "/", "first.example").json()["reason"] == "host_not_allowed"
    events = outgate.wait_for_events(lambda found: len(found) == 2)
    assert (events[0]["sandbox"], events[0]["policy"]) == ("task-1", "one")
    assert events[1]["policy"] == "two"


@pytest.mark.parametrize(
    "shown", ["", "Basic eDp5", "Basic !!!", "Bearer x.y.z", "Digest x", "Basic", "Basic " + "A" * 5000]
)
def test_without_a_good_token_there_is_407_and_nothing_else(outgate: Outgate, upstream: Upstream, shown: str) -> None:
    with outgate.client() as client:
        answer = client.connect("first.example:443", {"Proxy-Authorization": shown} if shown else None)
    assert answer.status == 407
    assert answer.header("proxy-authenticate") == 'Basic realm="outgate"'
    assert "first" not in str(answer.json()["hint"])
    assert not upstream.record.connections
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (events[0]["reason"], events[0]["sandbox"], events[0]["policy"]) == ("unauthenticated", None, None)


def test_a_first_try_without_a_token_is_not_counted_when_the_second_is_good(outgate: Outgate) -> None:
    with outgate.client() as client:
        assert client.connect("first.example:443").status == 407
        shown = {"Proxy-Authorization": credentials(outgate, "one")}
        assert client.connect("first.example:443", shown).status == 200
        client.tls("first.example", ca_file=outgate.ca_file)
        assert client.request("GET", "/", "first.example").status == 200
    events = outgate.wait_for_events(lambda found: len(found) > 0)
    assert [event["reason"] for event in events] == ["allowed"]


def test_a_placeholder_of_one_sandbox_is_a_strange_key_in_another(outgate: Outgate) -> None:
    other = outgate.env("--policy", "one", "--name", "other")["KEY"]
    mine = outgate.env("--policy", "one", "--name", "mine")["KEY"]
    assert other != mine
    with outgate.client() as client:
        shown = {"Proxy-Authorization": credentials(outgate, "one", "--name", "mine")}
        client.connect("first.example:443", shown)
        client.tls("first.example", ca_file=outgate.ca_file)
        good = client.request("GET", "/", "first.example", {"Authorization": f"Bearer {mine}"})
        refused = client.request("GET", "/", "first.example", {"Authorization": f"Bearer {other}"})
    assert (good.status, refused.json()["reason"]) == (200, "client_credential_refused")


def test_plain_requests_show_the_token_each_time(outgate: Outgate) -> None:
    with outgate.client() as client:
        shown = {"Proxy-Authorization": credentials(outgate, "two")}
        first = client.request("GET", "http://second.example/", "second.example", shown)
        second = client.request("GET", "http://second.example/", "second.example")
    assert first.json()["reason"] == "scheme_not_allowed"
    assert second.status == 407


def test_a_token_inside_the_tunnel_goes_nowhere(outgate: Outgate, upstream: Upstream) -> None:
    shown = credentials(outgate, "one")
    upstream.otherwise(answers.echo)
    with outgate.client() as client:
        client.connect("first.example:443", {"Proxy-Authorization": shown})
        client.tls("first.example", ca_file=outgate.ca_file)
        client.request("GET", "/", "first.example", {"Proxy-Authorization": shown})
    assert upstream.record.last.values("proxy-authorization") == []


def test_a_token_of_another_proxy_is_worth_nothing(outgate: Outgate, start_outgate: Start) -> None:
    elsewhere = start_outgate({"one.yaml": ONE, "two.yaml": TWO}, environ={"KEY": SECRET})
    with outgate.client() as client:
        answer = client.connect("first.example:443", {"Proxy-Authorization": credentials(elsewhere, "one")})
    assert answer.status == 407


def test_beyond_loopback_a_token_is_needed_even_with_one_policy(start_outgate: Start) -> None:
    outgate = start_outgate(ONE, environ={"KEY": SECRET}, listen="0.0.0.0:0")
    assert outgate.ready["tokens"] is True
    with outgate.client() as client:
        assert client.connect("first.example:443").status == 407


def test_several_policies_and_no_tokens_is_misuse(tmp_path: object, outgate: Outgate) -> None:
    done = run_outgate(
        outgate.folder,
        "serve",
        "--policy",
        str(outgate.policies),
        "--allow-anonymous",
        "--listen",
        "127.0.0.1:0",
        "--state",
        str(outgate.folder / "other"),
        environ={"KEY": SECRET},
    )
    assert done.returncode == 2
    assert "exactly one policy" in done.stderr
