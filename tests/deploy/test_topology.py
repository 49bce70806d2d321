"""The deployments of examples/ in network namespaces: nothing leads out but Outgate, and there the policy holds."""

import functools
import os
import re
import warnings
from typing import Any

import pytest

from tests.deploy.lab import NFT, PROXYD, REAL_KEY, impossible, observe

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELD = ["compose", "gateway", "sidecar", "systemd"]
# Outgate's own address on the side that leads out is part of the gateway, and asks for a token there too.
OWN = {"gateway": {"tcp,203.0.113.2,8899"}}
LISTENING = {
    "compose": ["172.30.200.2:8899"],
    "gateway": ["0.0.0.0:8899"],
    "sidecar": ["127.0.0.1:8899"],
    "systemd": ["127.0.0.1:8899"],
}
OUTSIDE = re.compile(r"\w+,(203\.0\.113\.10|2001:db8::10|169\.254\.169\.254),")


def missing(topology: str) -> str:
    """Why a topology cannot be tried here; empty if it can."""
    if why := impossible():
        return why
    if topology == "systemd" and not PROXYD.exists():
        return f"{PROXYD} (systemd) is needed"
    return "nft (nftables) is needed" if topology == "sidecar" and not os.access(NFT, os.X_OK) else ""


@functools.cache
def seen(topology: str) -> dict[str, Any]:
    """What an agent came to; each topology is made once."""
    if why := missing(topology):
        warnings.warn(f"the deployment {topology} was not tried: {why}", stacklevel=1)
        pytest.skip(why)
    return observe(topology)


@pytest.mark.parametrize("topology", HELD)
def test_nothing_gets_out_beside_the_proxy(topology: str) -> None:
    found = seen(topology)
    opened = {attempt for attempt, outcome in found["tried"].items() if outcome == "open"}
    assert opened == OWN.get(topology, set())
    # What the system took without a word (datagrams, frames) is looked for where it would have arrived.
    assert (found["marked"], found["direct"]) == (0, 0)


@pytest.mark.parametrize("topology", HELD)
def test_outgate_opens_one_port_and_no_other(topology: str) -> None:
    assert seen(topology)["listening"] == LISTENING[topology]


@pytest.mark.parametrize("topology", HELD)
def test_through_the_proxy_the_policy_holds_and_the_key_is_added(topology: str) -> None:
    found = seen(topology)
    assert found["proxied"][:3] == ["200/200", "200/403", "200/403"]
    assert found["keys"] == [REAL_KEY]
    assert found["refused"][:2] == ["path_not_allowed", "host_not_allowed"]
    assert REAL_KEY not in found["env"]


def test_the_gateway_knows_its_sandboxes_by_their_tokens() -> None:
    found = seen("gateway")
    assert found["proxied"][3] == "407/000"
    assert found["refused"][2] == "unauthenticated"


def test_the_agent_of_systemd_has_loopback_alone_and_one_socket_in_it() -> None:
    found = seen("systemd")
    assert found["inside"] == ["127.0.0.1:8899"]
    assert {found["tried"][attempt] for attempt in found["tried"] if re.match(r"(tcp|udp),[^1]", attempt)} == {
        "ENETUNREACH"
    }


@pytest.mark.parametrize("topology", ["compose-forwarding", "sidecar-without-rules"])
def test_without_the_line_that_holds_it_the_same_attempts_get_out(topology: str) -> None:
    """Else the tests above would pass for a probe that reaches nothing anywhere."""
    found = seen(topology)
    assert all(
        outcome == "open" for attempt, outcome in found["tried"].items() if OUTSIDE.match(attempt) and "tcp" in attempt
    )
    assert found["marked"] > 0
    assert found["direct"] > 0
