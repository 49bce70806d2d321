"""A reload that fails, hangs or breaks halfway: the last good policies hold, or the worker that did not follow ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.faulty import Faulty
from tests.support.pki import Authority
from tests.support.upstream import Upstream

OLD = """
version: 1
name: live
allow:
  - {id: good, why: w, hosts: [good.example], access: any}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
"""
NEW = OLD.replace("access: any", "access: any, paths: [/new]").replace("pinned.example", "other.example")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as server:
        yield server


@pytest.fixture
def proxy(tmp_path: Path, upstream: Upstream) -> Iterator[Faulty]:
    folder = tmp_path / "proxy"
    folder.mkdir()
    mapping = {f"{host}.example:443": upstream.port for host in ("good", "pinned")}
    with Faulty(folder, OLD, connect_to=mapping, upstream_ca=(upstream.ca_file,)) as it:
        yield it


def status(proxy: Faulty, path: str) -> int:
    with proxy.tunnel("good.example:443") as client:
        return client.request("GET", path, "good.example").status


@pytest.mark.parametrize("kind", ["raise", "hang", "full"])
def test_a_reload_that_fails_keeps_the_last_good_policy(proxy: Faulty, kind: str) -> None:
    with proxy.armed("policy reload", kind):
        (proxy.policies / "test.yaml").write_text(NEW)
        proxy.wait_for_events(lambda _: proxy.was_hit())
        assert (status(proxy, "/old"), status(proxy, "/new")) == (200, 200)
    (proxy.policies / "test.yaml").write_text(NEW + "# again\n")
    proxy.wait_for_events(lambda _: status(proxy, "/old") == 403)
    assert status(proxy, "/new") == 200


@pytest.mark.parametrize("kind", ["raise", "cancelled"])
def test_a_tunnel_does_not_outlive_its_policy_because_the_cut_failed(
    proxy: Faulty, upstream: Upstream, kind: str
) -> None:
    with proxy.armed("gate cut_outgrown", kind), proxy.client() as client:
        assert client.connect("pinned.example:443").status == 200
        client.tls("pinned.example", ca_file=upstream.ca_file)
        assert client.request("GET", "/", "pinned.example").status == 200
        (proxy.policies / "test.yaml").write_text(NEW)
        assert client.closed()
    assert proxy.was_hit()
    assert len(proxy.wait_for_events(lambda found: len(found) == 1)) == 1
    assert status(proxy, "/old") == 403
