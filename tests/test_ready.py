"""The ready file of a running proxy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.ready import Ready, ReadyPolicy, _parse, read_ready, write_ready

READY = Ready("127.0.0.1:8899", "/s/ca.pem", (ReadyPolicy("web", "ab", "/p/web.yaml"),), os.getpid(), False)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_ready(tmp_path / "ready.json", READY)
    assert read_ready(tmp_path / "ready.json") == READY
    document = json.loads((tmp_path / "ready.json").read_text())
    assert set(document) == {"address", "ca_file", "policies", "pid", "tokens", "reload", "metrics"}
    assert document["policies"] == [{"name": "web", "digest": "ab", "source": "/p/web.yaml"}]


def test_without_a_file_no_proxy_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no proxy runs on this state folder"):
        read_ready(tmp_path / "ready.json")


def test_the_file_of_a_proxy_that_ended_is_not_used(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_ready(tmp_path / "ready.json", Ready("127.0.0.1:1", "/ca", (), ended.pid, False))
    with pytest.raises(ConfigError, match="the proxy that used this state folder has ended"):
        read_ready(tmp_path / "ready.json")


GOOD: dict[str, Any] = {"address": "a:1", "ca_file": "/c", "policies": [], "pid": 1, "tokens": True}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        *(json.dumps({key: value for key, value in GOOD.items() if key != gone}).encode() for gone in GOOD),
        json.dumps(GOOD | {"pid": "1"}).encode(),
        json.dumps(GOOD | {"pid": True}).encode(),
        json.dumps(GOOD | {"policies": [{}]}).encode(),
        json.dumps(GOOD | {"policies": [7]}).encode(),
        json.dumps(GOOD | {"policies": [{"name": 1, "digest": "", "source": ""}]}).encode(),
    ],
)
def test_anything_else_is_not_a_ready_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "ready.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="this is not a ready file"):
        read_ready(path)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_does_more_than_raise_the_one_error(text: str) -> None:
    with pytest.raises(ConfigError):
        _parse(Path("x"), text)
