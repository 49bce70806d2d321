"""What the engine does not load of mitmproxy, and what becomes of code that would use it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("aioquic", "pyparsing", "ruamel", "wsproto", "http.server", "pydantic", "rich", "mitmproxy.proxy.layers.quic")


def in_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_engine_loads_nothing_of_what_it_never_uses() -> None:
    code = f"""
import sys
sys.modules["rich"] = None  # as in the proxy of a run
import proxy.engine.supervisor
from proxy.engine.hollow import Hollow
print(*(name for name, module in sys.modules.items() if module and not isinstance(module, Hollow)
        and name.startswith({HEAVY!r})))
"""
    assert in_python(code).split() == []


def test_whatever_is_asked_of_a_hollow_module_can_only_raise() -> None:
    code = """
import proxy.engine
from mitmproxy.proxy.layers import ClientQuicLayer
from mitmproxy.proxy.layers.http import Http3Server
from mitmproxy.proxy.layers.websocket import WebsocketLayer
for each in (ClientQuicLayer, Http3Server, WebsocketLayer):
    assert not isinstance(object(), each)
    try:
        each(None)
    except RuntimeError as error:
        print(error)
"""
    assert in_python(code).splitlines() == [
        "mitmproxy.proxy.layers.quic.ClientQuicLayer is not part of this engine",
        "mitmproxy.proxy.layers.http._http3.Http3Server is not part of this engine",
        "mitmproxy.proxy.layers.websocket.WebsocketLayer is not part of this engine",
    ]


@pytest.mark.parametrize("name", ["wsproto.missing", "mitmproxy.proxy.layers.quic.missing"])
def test_nothing_else_is_found_in_one(name: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        in_python(f"import proxy.engine, {name}")
