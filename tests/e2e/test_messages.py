"""What a real proxy says on stderr while requests fail in many ways: nothing of what was asked."""

import json
import os
import signal
from collections.abc import Callable

from tests.e2e.test_audit_log import children
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: quiet
allow:
  - {id: good, why: w, hosts: [good.example, down.example], access: any, credential: key}
credentials:
  key: {from: "env:KEY", hosts: [good.example, down.example], inject: {query: key}}
"""
SECRET = "sk-canary-0123456789"


def test_no_message_has_a_secret_a_path_or_a_query(start_outgate: Callable[..., Outgate], upstream: Upstream) -> None:
    outgate = start_outgate(
        POLICY, connect_to={"good.example:443": upstream.port, "down.example:443": 1}, environ={"KEY": SECRET}
    )
    for host in ("good.example", "down.example", "refused.example"):
        with outgate.tunnel(f"{host}:443") as client:
            client.request("GET", "/canary-path?canary-query=canary-value", host, {"X-Canary": "canary-header"})
    with outgate.client() as client:
        client.send(b"GET http://canary-host/\0canary HTTP/9.9\r\n\r\n")
        client.read()
    outgate.write_policy(POLICY.replace("quiet", "loud") + "nonsense: canary-policy\n")
    outgate.wait_until(lambda: "reload failed" in outgate.stderr)
    outgate.write_policy(POLICY)
    os.kill(children(outgate.ready["pid"])[0], signal.SIGKILL)
    outgate.wait_until(lambda: "worker ended" in outgate.stderr)
    outgate.stop()
    said = [json.loads(line) for line in outgate.stderr.splitlines()]
    assert all({"event", "level", "timestamp"} <= message.keys() for message in said)
    assert "canary" not in outgate.stderr.replace("canary-policy", "")
    assert ".example" not in outgate.stderr
