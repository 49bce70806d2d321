"""Compressed answers that must be searched for a secret: whole if they are honest, in bounded pieces in any case."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from h2.settings import SettingCodes

from tests.bounds.attacked import MIB, World, attacked
from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.upstream_h2 import H2Answer

ZEROS = 50 * MIB
ROOM = 24 * MIB
"""What one answer may add to the memory of the worker; without a bound it would be all that it decodes to."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with attacked(tmp_path) as world:
        yield world


def ask(world: World, body: bytes, coding: str) -> bytes:
    """Everything that the client gets for such an answer, to the end of the connection."""
    world.upstream.on("/coded", answers.reply(200, body, {"Content-Encoding": coding}))
    with world.proxy.tunnel("good.example:443") as client:
        client.send(b"GET /coded HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n")
        return client.read_to_end()


def test_an_answer_that_compresses_a_thousand_times_arrives_whole(world: World) -> None:
    before = world.peak()
    got = ask(world, gzip.compress(bytes(ZEROS), 9), "gzip")
    assert got.endswith(b"\r\n0\r\n\r\n")
    assert got.count(0) == ZEROS
    assert world.peak() - before < ROOM
    assert world.proxy.wait_for_events(lambda found: len(found) == 2)[-1]["end"] == "complete"


def test_a_bomb_after_noise_is_cut_and_never_held(world: World) -> None:
    before = world.peak()
    noise = zstandard.ZstdCompressor(level=1).compress(os.urandom(4 * MIB))
    bomb = zstandard.ZstdCompressor(level=1, write_checksum=False).compress(bytes(64 * MIB))
    got = ask(world, noise + 6 * bomb, "zstd")
    assert len(got) < 80 * MIB
    assert b"\r\n0\r\n\r\n" not in got, "what was cut off must not look whole"
    assert world.peak() - before < ROOM + 4 * MIB
    event = world.proxy.wait_for_events(lambda found: len(found) == 2)[-1]
    assert (event["end"], event["detail"]) == ("upstream_closed", "the zstd stream expands too far")
    assert world.serves()


def test_the_secret_is_masked_where_two_portions_meet(world: World) -> None:
    secret = b"canary-value-0123456789-abcdef"
    body = b"".join(b"x" * (17_000 + number) + secret for number in range(100))
    got = ask(world, gzip.compress(body), "gzip")
    assert got.endswith(b"\r\n0\r\n\r\n")
    assert secret not in got
    assert sum(got.count(b"*" * size) for size in (len(secret),)) >= 90  # some lie across two chunks


HTTP2_POLICY = """
version: 1
name: decoded
allow:
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true, credential: key}
  - {id: free, why: w, hosts: [free.example], access: any}
credentials:
  key: {from: "env:KEY", hosts: [h2.example], inject: {bearer: true}}
"""


@pytest.fixture
def http2_world(tmp_path: Path) -> Iterator[World]:
    with attacked(tmp_path, policy=HTTP2_POLICY) as world:
        zeros = gzip.compress(bytes(ZEROS), 9)
        world.h2_upstream.answers["/zeros"] = H2Answer(headers=(("content-encoding", "gzip"),), parts=(zeros,))
        yield world


def test_over_http2_a_client_that_takes_nothing_makes_the_proxy_hold_little(http2_world: World) -> None:
    before = http2_world.peak()
    client = Client(http2_world.proxy, "h2.example")
    stream = client.start(fields("/zeros", host="h2.example"))
    client.wait(stream, body=bytes(65_535))  # its window
    assert client.ask(fields("/", host="h2.example")).status == 200
    assert http2_world.peak() - before < ROOM
    client.raw.close()
    assert http2_world.serves()


def test_over_http2_it_arrives_whole(http2_world: World) -> None:
    client = Client(http2_world.proxy, "h2.example")
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
    client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
    small = gzip.compress(bytes(4 * MIB), 9)
    http2_world.h2_upstream.answers["/zeros"] = H2Answer(headers=(("content-encoding", "gzip"),), parts=(small,))
    reply = client.ask(fields("/zeros", host="h2.example"))
    assert reply.ended
    assert reply.body == bytes(4 * MIB)
    client.raw.close()


def test_a_header_that_is_broken_over_two_lines_is_no_answer(world: World) -> None:
    half = b"canary-value-0123"
    broken = b"HTTP/1.1 200 OK\r\nX-Echo: " + half + b"\r\n 456789-abcdef\r\nContent-Length: 0\r\n\r\n"
    world.upstream.on("/folded", answers.raw(broken))
    with world.proxy.tunnel("good.example:443") as client:
        answer = client.request("GET", "/folded", "good.example")
    assert (answer.status, answer.json()["reason"]) == (502, "upstream_unreachable")
    assert half not in answer.body
