"""The ready file: what a running proxy says of itself, for `outgate env` and for launchers.

Written atomically once the proxy really accepts connections; holds no secret.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from proxy.errors import ConfigError
from proxy.state import why, write_json

_START = "start `outgate serve`, or name its state folder with --state"


@dataclass(frozen=True, slots=True)
class ReadyPolicy:
    """One policy that the proxy serves. `source` is an absolute path, `digest` the SHA-256 of what was compiled."""

    name: str
    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class ReadyReload:
    """How the policies in force came to be: `result` is `loaded`, `reloaded` or `kept` (then `error` says where
    the newer ones that were not taken are wrong), `time` is RFC 3339, UTC.
    """

    result: str = "loaded"
    time: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """`address` is `host:port` as bound (IPv6 in brackets), `tokens` whether clients need a sandbox token.

    `reload` and `metrics`, where those are to be read, are for people and launchers; nothing here reads them back.
    """

    address: str
    ca_file: str
    policies: tuple[ReadyPolicy, ...]
    pid: int
    tokens: bool
    reload: ReadyReload = ReadyReload()
    metrics: str | None = None


def write_ready(path: Path, ready: Ready) -> None:
    """Write the ready file. Raises `ConfigError` if it cannot be written."""
    write_json(path, asdict(ready))


def read_ready(path: Path) -> Ready:
    """Read the ready file of a proxy that still runs. Raises `ConfigError` if there is none, or it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no proxy runs on this state folder", _START, str(path.parent)) from None
    except OSError as error:
        raise ConfigError(f"cannot read the ready file: {why(error)}", _START, str(path)) from None
    except UnicodeDecodeError:
        raise _broken(path) from None
    ready = _parse(path, text)
    if not _runs(ready.pid):
        raise ConfigError("the proxy that used this state folder has ended", _START, str(path.parent))
    return ready


def _parse(path: Path, text: str) -> Ready:
    types = {"address": str, "ca_file": str, "policies": list, "pid": int, "tokens": bool}
    try:
        value = json.loads(text)
        if type(value) is not dict or any(type(value.get(key)) is not kind for key, kind in types.items()):
            raise _broken(path)
        policies = tuple(ReadyPolicy(**policy) for policy in value["policies"])
        if any(type(part) is not str for policy in policies for part in (policy.name, policy.digest, policy.source)):
            raise _broken(path)
    except (ValueError, TypeError, RecursionError):
        raise _broken(path) from None
    return Ready(value["address"], value["ca_file"], policies, value["pid"], value["tokens"])


def _broken(path: Path) -> ConfigError:
    return ConfigError("this is not a ready file", "remove it and start `outgate serve` again", str(path))


def _runs(pid: int) -> bool:
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
