"""What a host was sent it can hand back later, to anybody: answers are masked for it whoever asks, and for a while."""

from pathlib import Path

from tests.e2e.conftest import StartOutgate
from tests.e2e.test_identity import credentials
from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream

FIRST, SECOND = "canary-first-0123456789abcdef", "canary-other-0123456789abcdef"
WITH = """
version: 1
name: with
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
credentials:
  key: {from: "file:PATH", hosts: [good.example], inject: {bearer: true}}
"""
WITHOUT = """
version: 1
name: NAME
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
"""
ECHO = f"{FIRST} {SECOND}".encode()


def rotate(path: Path, value: str) -> None:
    (path.parent / "new").write_text(value)
    (path.parent / "new").replace(path)


def echoed(outgate: Outgate, shown: dict[str, str] | None = None) -> str:
    with outgate.client() as client:
        assert client.connect("good.example:443", shown).status == 200
        client.tls("good.example", ca_file=outgate.ca_file)
        return client.request("GET", "/echo", "good.example").body.decode()


def test_a_key_comes_back_to_nobody_whatever_policy_rotation_and_reload(
    start_outgate: StartOutgate, upstream: Upstream, tmp_path: Path
) -> None:
    rotate(path := tmp_path / "token", FIRST)
    upstream.on("/echo", answers.reply(200, ECHO))
    policies = {"a.yaml": WITH.replace("PATH", str(path)), "b.yaml": WITHOUT.replace("NAME", "bare")}
    outgate = start_outgate(policies, connect_to={"good.example:443": upstream.port})
    with_key, bare = ({"Proxy-Authorization": credentials(outgate, name)} for name in ("with", "bare"))
    hidden = "*" * len(FIRST)
    assert [echoed(outgate, who) for who in (with_key, bare)] == [f"{hidden} {SECOND}"] * 2
    rotate(path, SECOND)
    assert [echoed(outgate, who) for who in (bare, with_key)] == [f"{hidden} {hidden}"] * 2
    outgate.write_policy(WITHOUT.replace("NAME", "with"), "a.yaml")
    outgate.wait_for_reload(3)
    assert [echoed(outgate, who) for who in (with_key, bare)] == [f"{hidden} {hidden}"] * 2


def test_a_running_answer_is_masked_for_a_key_that_came_after_it_began(
    start_outgate: StartOutgate, upstream: Upstream, tmp_path: Path
) -> None:
    rotate(path := tmp_path / "token", FIRST)
    gate = upstream.gate()
    upstream.on("/running", answers.chunked([b"start ", gate, SECOND[:9].encode(), SECOND[9:].encode()]))
    outgate = start_outgate(WITH.replace("PATH", str(path)), connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        client.send(b"GET /running HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n")
        assert client.read_head().status == 200
        assert client.read_chunk() == b"start "
        rotate(path, SECOND)
        assert echoed(outgate) is not None
        assert upstream.record.last.values("authorization") == [f"Bearer {SECOND}"]
        gate.open()
        got = client.read_to_end()
        assert SECOND.encode() not in got
        assert got.count(b"*") == len(SECOND)
