"""Process settings: one frozen value, and where it comes from.

Flags, environment variables and `outgate.yaml`, in this order of precedence. That upstream certificates are verified is
no setting.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

from proxy.endpoint import ConnectTo, Listen
from proxy.errors import ConfigError

PREFIX = "OUTGATE_"
_LISTEN = Listen(IPv4Address("127.0.0.1"), 8899)


def usable_cores() -> int:
    """How many cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)


def default_state(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/outgate`, else `~/.local/state/outgate`. A relative XDG path counts as unset, as XDG says."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "outgate"
    try:
        return Path.home() / ".local" / "state" / "outgate"
    except RuntimeError:
        raise ConfigError("there is no home folder for the state", "choose a state folder with --state") from None


def _default_state() -> Path:
    return default_state(os.environ)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of `outgate serve`. The names are those of the flags, with `_` for `-`. Bytes and seconds."""

    policy: tuple[Path, ...] = ()
    listen: Listen | None = _LISTEN
    workers: int = field(default_factory=usable_cores)
    state: Path = field(default_factory=_default_state)
    ready_file: Path | None = None
    upstream_ca: tuple[Path, ...] = ()
    connect_to: tuple[ConnectTo, ...] = ()
    allow_anonymous: bool = False
    audit: Literal["files", "stdout"] = "files"
    audit_max_bytes: int = 64 << 20
    audit_max_age: int = 86400
    audit_fsync: Literal["never", "checkpoint", "always"] = "checkpoint"
    metrics: Listen | None = None

    @property
    def connect_map(self) -> dict[tuple[str, int], tuple[str, int]]:
        """`connect_to` for the dial: from (canonical host, port) to (IP address, port)."""
        return {mapping.key: (str(mapping.address), mapping.address_port) for mapping in self.connect_to}


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], folder: Path | None, config: Path | None = None
) -> Settings:
    """Merge the sources. `flags` holds what the command line gave, and `None` or `()` for what it did not.

    The file is `config`, else `$OUTGATE_CONFIG`, else `outgate.yaml` in `folder`, if there is one. Relative paths in it
    start at its own folder. Raises `ConfigError` with every problem found.
    """
    from proxy.settings_sources import merge  # slow to load, and who is given settings has no need of it

    return merge(flags, environ, folder, config)


def tokens_required(settings: Settings, policy_count: int) -> bool:
    """Whether clients must show a sandbox token: with several policies, or beyond loopback.

    `allow_anonymous` lets clients without a token use the single policy from anywhere.
    Raises `ConfigError` where it is set with several policies, because nothing would say which one holds.
    """
    if settings.allow_anonymous and policy_count > 1:
        raise ConfigError(
            f"--allow-anonymous needs exactly one policy, not {policy_count}",
            "name one policy file, or leave --allow-anonymous out and give each sandbox a token with `outgate env`",
        )
    if settings.listen is None:
        return False  # every client comes in on the socket of its sandbox
    return not settings.allow_anonymous and (policy_count > 1 or not settings.listen.loopback)
