"""Python's HTTP and WebSocket libraries through the proxy, each in a program as its user would write it."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.sandbox import SENTENCE, Run, Sandbox
from tests.support.upstream import Upstream

SECRET = "the-real-secret-0123456789"
POLICY = """
version: 1
name: script
allow:
  - id: api
    why: an API with a token
    hosts: [api.example]
    access: any
    paths: [/v1/**]
    credential: token
credentials:
  token:
    from: env:SECRET
    hosts: [api.example]
    inject: {bearer: true}
    placeholder: API_TOKEN
"""
# Each prints the status and the body of one request: a GET, or a POST of as many bytes as the second argument says.
PROGRAMS = {
    "urllib": """
import urllib.error, urllib.request
try:
    with urllib.request.urlopen(urllib.request.Request(URL, DATA or None, HEADERS)) as answer:
        show(answer.status, answer.read())
except urllib.error.HTTPError as error:
    show(error.code, error.read())
""",
    "requests": """
import requests
answer = requests.request(METHOD, URL, data=DATA, headers=HEADERS)
show(answer.status_code, answer.content)
""",
    "httpx": """
import httpx
answer = httpx.request(METHOD, URL, content=DATA, headers=HEADERS)
show(answer.status_code, answer.content)
""",
    "aiohttp": """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.request(METHOD, URL, data=DATA, headers=HEADERS) as answer:
            show(answer.status, await answer.read())
asyncio.run(main())
""",
}
PREAMBLE = """
import os, sys
URL, DATA = sys.argv[1], b"x" * int(sys.argv[2])
METHOD = "POST" if DATA else "GET"
HEADERS = {"Authorization": "Bearer " + os.environ["API_TOKEN"]} if "//api." in URL else {}
def show(status, body):
    print(status, body.decode())
"""
# Not `websockets.sync`: it uses one TLS connection in two threads, and now and then loses a request by itself.
SOCKET = """
import asyncio, os, sys
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
headers = {"Authorization": "Bearer " + os.environ["API_TOKEN"]} if "//api." in sys.argv[1] else {}
async def main():
    async with connect(sys.argv[1], additional_headers=headers) as socket:
        await socket.send("hello")
        print(await socket.recv())
try:
    asyncio.run(main())
except InvalidStatus as error:
    print(error.response.status_code, error.response.body.decode())
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("api"), authority=authority) as server:
        server.otherwise(answers.echo)
        server.on("/v1/socket", answers.websocket_echo)
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, api: Upstream) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"api.example:443": api.port},
        upstream_ca=(authority.ca_file,),
        environ={"SECRET": SECRET},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


def need_library(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def request(sandbox: Sandbox, library: str, url: str, size: int) -> tuple[int, Run]:
    need_library(library)
    done = sandbox.run(sys.executable, "-c", PREAMBLE + PROGRAMS[library], url, str(size))
    assert done.code == 0, done.output
    status, _, body = done.stdout.partition(" ")
    return int(status), Run(done.code, body, done.stderr)


@pytest.mark.parametrize("size", [0, 1_000_000], ids=["GET", "POST"])
@pytest.mark.parametrize("library", PROGRAMS)
def test_an_allowed_request_carries_the_real_secret(sandbox: Sandbox, api: Upstream, library: str, size: int) -> None:
    status, done = request(sandbox, library, "https://api.example/v1/x", size)
    assert status == 200
    assert json.loads(done.stdout)["length"] == size
    assert api.record.last.values("authorization") == [f"Bearer {SECRET}"]
    assert [(event["verdict"], event["injected"]) for event in sandbox.events()] == [("allow", True)]


@pytest.mark.parametrize("size", [0, 1_000_000], ids=["GET", "POST"])
@pytest.mark.parametrize("library", PROGRAMS)
def test_a_refusal_is_an_answer_with_the_reason_after_one_attempt(sandbox: Sandbox, library: str, size: int) -> None:
    """Also to a client that sends its whole body before it reads."""
    status, done = request(sandbox, library, "https://evil.example/x", size)
    assert status == 403
    assert json.loads(done.stdout)["message"].startswith(f"{SENTENCE} host (host_not_allowed): ")
    sandbox.refused_once("host_not_allowed")


def test_websockets_connects_through_the_proxy_with_the_real_secret(sandbox: Sandbox, api: Upstream) -> None:
    need_library("websockets")
    done = sandbox.run(sys.executable, "-c", SOCKET, "wss://api.example/v1/socket")
    assert done.output == "hello\n"
    assert api.record.last.values("authorization") == [f"Bearer {SECRET}"]
    events = sandbox.outgate.wait_for_events(lambda found: any(event["status"] == 101 for event in found))
    assert events[-1]["injected"] is True


def test_websockets_is_refused_with_426_and_the_reason(sandbox: Sandbox) -> None:
    need_library("websockets")
    done = sandbox.run(sys.executable, "-c", SOCKET, "wss://evil.example/socket")
    assert done.code == 0, done.output
    status, _, body = done.stdout.partition(" ")
    assert (status, json.loads(body)["reason"]) == ("426", "host_not_allowed")
    sandbox.refused_once("host_not_allowed")
