"""What is in the running proxy, and what is not: the parts of mitmproxy that nobody asked for, and unread overrides."""

import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_mirrored import MIRRORED

ROOT = Path(__file__).parent.parent

# Web and console interfaces, flow storage that reads and shows, what starts them, and what they stand on.
INTERFACES = [
    "mitmproxy.tools",
    "mitmproxy.tools.console",
    "mitmproxy.tools.dump",
    "mitmproxy.tools.main",
    "mitmproxy.tools.web",
    "mitmproxy.addons.dumper",
    "mitmproxy.addons.keepserving",
    "mitmproxy.addons.readfile",
    "mitmproxy.addons.view",
    "tornado",
    "urwid",
]
# Script loader, onboarding app, commands, storage, replay: the package mitmproxy.addons would import them.
STOCK_ADDONS = [
    "mitmproxy.addons.clientplayback",
    "mitmproxy.addons.core",
    "mitmproxy.addons.cut",
    "mitmproxy.addons.export",
    "mitmproxy.addons.onboarding",
    "mitmproxy.addons.onboardingapp",
    "mitmproxy.addons.proxyauth",
    "mitmproxy.addons.save",
    "mitmproxy.addons.savehar",
    "mitmproxy.addons.script",
    "mitmproxy.addons.serverplayback",
    "mitmproxy.addons.tlsconfig",
    "asgiref",
    "flask",
    "ldap3",
]
ENGINE = [import_module(f"proxy.engine.{file.stem}") for file in sorted((ROOT / "proxy/engine").glob("[a-z]*.py"))]

# In a process of its own, as a worker is: what it has loaded, and which addons and commands its master has.
LOOK = """
import asyncio, json, sys
import proxy.cli.serve, proxy.engine.supervisor
from proxy.engine import worker

async def look():
    from mitmproxy import ctx
    server = worker._make_master()
    addons = [type(addon).__module__ + "." + type(addon).__name__ for addon in ctx.master.addons.chain]
    commands = sorted(ctx.master.commands.commands)
    print(json.dumps({"modules": sorted(sys.modules), "addons": addons, "commands": commands}))

asyncio.run(look())
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_what_only_review_needs_is_not_loaded(loaded: dict[str, Any]) -> None:
    packages = {module.partition(".")[0] for module in loaded["modules"]}
    assert packages & {"duckdb", "genai_prices", "httpx2"} == set()


def test_the_interfaces_of_mitmproxy_are_not_loaded(loaded: dict[str, Any]) -> None:
    assert "mitmproxy.proxy.server" in loaded["modules"]
    assert sorted(set(INTERFACES) & set(loaded["modules"])) == []


def test_the_stock_addons_of_mitmproxy_are_not_loaded(loaded: dict[str, Any]) -> None:
    assert sorted(set(STOCK_ADDONS) & set(loaded["modules"])) == []


def test_what_is_not_loaded_exists_under_that_name() -> None:
    """Else the tests above would pass for a module that was renamed."""
    assert [name for name in (*INTERFACES, *STOCK_ADDONS) if find_spec(name) is None] == []


def test_the_worker_has_our_addons_and_the_server_and_no_other(loaded: dict[str, Any]) -> None:
    own = [name for name in loaded["addons"] if name.startswith("addons.")]
    assert len(own) == 5
    assert set(loaded["addons"]) - set(own) == {"mitmproxy.addons.proxyserver.Proxyserver"}


def test_the_worker_has_no_command_that_writes_or_runs(loaded: dict[str, Any]) -> None:
    """Those of the server are there, and nothing that could call one."""
    assert {name.partition(".")[0] for name in loaded["commands"]} <= {"inject", "proxyserver"}


def mitmproxy_overrides() -> list[Any]:
    """Each function of mitmproxy that a class of the engine replaces: whose source was read when it was replaced."""
    found: dict[str, Any] = {}
    for module in ENGINE:
        for own in vars(module).values():
            if inspect.isclass(own) and own.__module__ == module.__name__:
                for name, member in vars(own).items():
                    replaced = _inherited(own, name)
                    written = inspect.isfunction(member) and member.__code__.co_filename == module.__file__
                    if written and replaced is not None:
                        found[replaced.__qualname__] = replaced
    return [found[name] for name in sorted(found)]


def _inherited(own: type, name: str) -> Any:
    for base in own.__mro__[1:]:
        if name in vars(base) and base.__module__.startswith("mitmproxy"):
            member = vars(base)[name]
            return member if inspect.isfunction(member) else None
    return None


# Without a body of their own, or replaced whole and never called by what they replace: their source says nothing.
ALONE = {"Layer._handle_event", "ConnectionHandler.log", "ProxyConnectionHandler.log", "ServerInstance.make_top_layer"}


@pytest.mark.parametrize("replaced", mitmproxy_overrides(), ids=lambda function: function.__qualname__)
def test_what_the_engine_replaces_is_watched(replaced: Any) -> None:
    """A method is watched by itself or with its class; a change of its source fails tests/engine/test_mirrored.py."""
    if replaced.__qualname__ in ALONE or replaced.__name__ == "__init__":
        return
    module = sys.modules[replaced.__module__]
    owner = getattr(module, replaced.__qualname__.split(".")[0])
    assert replaced in MIRRORED or owner in MIRRORED, replaced.__qualname__


def test_the_watch_sees_overrides() -> None:
    names = {function.__qualname__ for function in mitmproxy_overrides()}
    assert {"HttpStream.handle_connect", "Http1Server.read_headers", "ConnectionHandler.open_connection"} <= names


def test_mirrors_names_a_method_that_exists() -> None:
    """A docstring that says "Mirrors `X.y`" names what to read: it must be there, and be watched."""
    watched = {part.__qualname__ for part in MIRRORED}
    named = {
        name
        for module in ENGINE
        for name in re.findall(r"(?:Mirrors|Restates) `([A-Za-z0-9_.]+)`", inspect.getsource(module))
    }
    assert len(named) > 5
    assert {name for name in named if not {name, name.split(".")[0]} & watched} == set()


def test_the_running_mitmproxy_is_the_locked_one() -> None:
    assert distribution("mitmproxy").version == "12.2.3"
