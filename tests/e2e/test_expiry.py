"""What the proxy itself ends is recorded as that, not as the client's doing."""

from collections.abc import Callable

from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: NAME
allow:
  - {id: free, why: w, hosts: [free.example], access: any}
"""


def test_an_exchange_that_outlives_its_token_is_aborted(
    start_outgate: Callable[..., Outgate], upstream: Upstream
) -> None:
    gate = upstream.gate()
    upstream.on("/slow", answers.chunked([b"first", gate, b"never"]))
    outgate = start_outgate(
        {f"{name}.yaml": POLICY.replace("NAME", name) for name in ("one", "two")},
        connect_to={"free.example:443": upstream.port},
    )
    url = outgate.env("--policy", "one", "--ttl", "3s")["HTTPS_PROXY"]
    token = url.removeprefix("http://").partition("@")[0].rpartition(":")[2]
    with RawClient(outgate.address) as client:
        assert client.connect("free.example:443", {"Proxy-Authorization": f"Bearer {token}"}).status == 200
        client.tls("free.example", ca_file=outgate.ca_file)
        client.send(b"GET /slow HTTP/1.1\r\nHost: free.example\r\n\r\n")
        assert client.read_head().status == 200
        client.read_to_end()
    gate.open()
    (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (event["verdict"], event["end"]) == ("allow", "aborted")
