"""Go: which module proxies and checksum database it is configured to use.

Source: go.dev/ref/mod "Environment variables", and `go help env`: the environment, over the file that `go env -w`
writes, over the toolchain's own defaults.
"""

import json
import re

from proxy.starter.machine import Found, Machine

_SETTINGS = ("GOPROXY", "GOSUMDB")
_WORDS = frozenset({"", "off", "direct", "none"})


def go(machine: Machine) -> list[Found]:
    """What the environment and the user's file name."""
    file = _env_file(machine)
    if all(machine.environ.get(name) or file.get(name) for name in _SETTINGS):
        machine.settled.add("go")
    found = []
    for name in _SETTINGS:
        if value := machine.environ.get(name):
            found += _setting(machine, name, name, value)
        elif value := file.get(name):
            found += _setting(machine, name, f"{name} in the file of `go env -w`", value)
    return found


def default_proxy(machine: Machine) -> list[Found]:
    """What go itself says, outside of any module."""
    try:
        said = json.loads(machine.ask(("go", "env", "-json", *_SETTINGS)) or "{}")
    except ValueError:
        return []
    if not isinstance(said, dict):
        return []
    return [
        each
        for name in _SETTINGS
        if isinstance(said.get(name), str)
        for each in _setting(machine, name, f"{name} as `go env` says", said[name])
    ]


def _setting(machine: Machine, name: str, where: str, value: str) -> list[Found]:
    if name == "GOSUMDB":
        # The name of a database is its host; a key and an address of its own can follow (`go help module-auth`).
        words = value.split()
        texts = [words[1]] if len(words) > 1 else [f"https://{word.partition('+')[0]}" for word in words]
        texts = [] if value in _WORDS else texts
    else:
        texts = [each.strip() for each in re.split(r"[,|]", value)]
        if "direct" in texts:
            machine.remark(where, "`direct` fetches modules from where they live; those hosts are not in the policy")
    return [each for text in texts if text not in _WORDS for each in machine.found("go", where, text)]


def _env_file(machine: Machine) -> dict[str, str]:
    given = machine.environ.get("GOENV", "")
    if given == "off":
        return {}
    base = machine.config_home
    text = machine.read(machine.project / given if given else base / "go/env" if base is not None else None)
    pairs = (line.partition("=") for line in (text or "").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}
