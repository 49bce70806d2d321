"""What listens for the operator alone is dialled for nobody: no rule, no name and no mapping leads there."""

import asyncio
import socket
from ipaddress import ip_address, ip_network

import pytest

from proxy import dial
from proxy.dial import Dialer, DialError, Grant
from proxy.endpoint import Listen
from proxy.policy.host import parse_host

OPENED = (ip_network("127.0.0.0/8"), ip_network("0.0.0.0/8"))


@pytest.mark.parametrize("name", ["127.0.0.1", "0.0.0.0", "inner.example", "mapped.example"])
def test_nothing_leads_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(dial, "_getaddrinfo", lambda *_: [ip_address("127.0.0.1")])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        mapping = {("mapped.example", port): ("127.0.0.1", port)}
        private = (Listen(ip_address("127.0.0.1"), port),)
        grant = Grant(parse_host(name), port, OPENED)

        async def opened(dialer: Dialer) -> None:
            _, writer = await dialer.open(grant, "somebody", asyncio.open_connection, lambda _: None)
            writer.close()

        asyncio.run(opened(Dialer(mapping)))  # so it is that alone which keeps it
        with pytest.raises(DialError, match="listens there itself"):
            asyncio.run(opened(Dialer(mapping, private)))
