"""Connections to upstreams are used again by the sandbox that had them made, and by nobody else."""

from pathlib import Path
from typing import Any

from tests.support import answers
from tests.support.answers import Answer as Response
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.rawclient import Answer
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: again
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
"""


def ask(proxy: Outgate, path: str, method: str = "GET", body: bytes = b"") -> Answer:
    return ask_at(proxy, "good.example", path, method, body)


def ask_at(proxy: Outgate, host: str, path: str = "/", method: str = "GET", body: bytes = b"") -> Answer:
    """One request on a client connection of its own."""
    with proxy.tunnel(f"{host}:443") as client:
        return client.request(method, path, host, None, body)


def in_turn(*each: Response) -> Response:
    waiting = iter(each)

    async def answer(*given: Any) -> None:
        await next(waiting)(*given)

    return answer


def served(folder: Path, upstream: Upstream) -> Outgate:
    (folder / "proxy").mkdir()
    return Outgate(
        folder / "proxy", POLICY, connect_to={"good.example:443": upstream.port}, upstream_ca=(upstream.ca_file,)
    )


def test_another_client_of_the_sandbox_uses_the_connection(tmp_path: Path) -> None:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream, served(tmp_path, upstream) as proxy:
        upstream.otherwise(answers.reply(200, b"abc"))
        assert [ask(proxy, f"/{number}").status for number in range(3)] == [200] * 3
        assert len(upstream.record.connections) == 1


def test_one_that_closed_unheard_is_replaced_and_the_request_is_made_once_more(tmp_path: Path) -> None:
    """RFC 9112 section 9.3.1: the upstream ends an idle connection while a request is on its way to it."""
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream, served(tmp_path, upstream) as proxy:
        upstream.otherwise(answers.reply(200, b"abc"))
        upstream.on("/gone", in_turn(answers.raw(b"", close=True), answers.reply(200, b"again")))
        assert ask(proxy, "/first").status == 200
        assert (ask(proxy, "/gone").body, ask(proxy, "/next").body) == (b"again", b"abc")
        assert [request.target for request in upstream.record.requests] == ["/first", "/gone", "/gone", "/next"]
        assert len(proxy.wait_for_events(lambda found: len(found) == 3)) == 3


def test_what_may_not_be_repeated_is_not(tmp_path: Path) -> None:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream, served(tmp_path, upstream) as proxy:
        upstream.otherwise(answers.reply(200, b"abc"))
        upstream.on("/gone", answers.raw(b"", close=True))
        assert ask(proxy, "/first").status == 200
        assert ask(proxy, "/gone", "POST", b"x").status == 502
        assert ask(proxy, "/last").status == 200
        assert [request.target for request in upstream.record.requests] == ["/first", "/gone", "/last"]
