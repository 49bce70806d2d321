"""The proxy of a run: one of its own, or one that runs already."""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy import ca, clients
from proxy.config.load import load_policies
from proxy.credentials.placeholder import placeholders
from proxy.credentials.sources import EnvSource, FileSource, parse_source
from proxy.errors import ConfigError, OutgateError
from proxy.identity import Keys, load_or_create_keys
from proxy.policy.rules import Policy
from proxy.ready import ReadyPolicy, read_ready
from proxy.sandbox import handover, own
from proxy.session import Boundary
from proxy.settings import load_settings
from proxy.state import StateDir, open_state
from proxy.watch import snapshot

_PATIENCE = 30.0
"""Seconds that a proxy has to serve a sandbox, from its start."""


@dataclass(frozen=True, slots=True)
class Served:
    """How to hand the proxy a sandbox, its state, the policy that holds and the files and folders that it is from."""

    control: socket.socket
    state: StateDir
    keys: Keys
    policy: Policy
    files: tuple[Path, ...]

    def fakes(self, sandbox: str) -> dict[str, str]:
        """What the sandbox holds in place of secrets, by variable."""
        return placeholders(self.keys.placeholders, sandbox, self.policy, clients.NAMES)

    def attach(self, sandbox: str, boundary: Boundary, listening: socket.socket) -> None:
        """Hand over the socket of a sandbox, and let go of it. Raises `OutgateError` if the proxy does not take it."""
        with listening:
            handover.attach(self.control, handover.Request(sandbox, self.policy.name, boundary), listening, _PATIENCE)

    @property
    def secret_variables(self) -> frozenset[str]:
        """The variables of the host that hold secrets of the policy."""
        return frozenset(source.variable for source in self._sources() if isinstance(source, EnvSource))

    @property
    def secret_files(self) -> tuple[Path, ...]:
        return tuple(Path(source.path) for source in self._sources() if isinstance(source, FileSource))

    def _sources(self) -> Iterator[EnvSource | FileSource]:
        for spec in self.policy.credentials.values():
            yield parse_source(spec.source)


@contextlib.contextmanager
def by_own(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None, sandbox: str
) -> Iterator[Served]:
    """Start a proxy for one sandbox, and end it with the block. Raises `OutgateError`, also if it did not end well."""
    # No file of the working folder: a sandbox may have written it, and it could open what it likes.
    settings = load_settings({**flags, "workers": 1, "listen": "none"}, environ, None, config)
    if not settings.policy:
        raise ConfigError("no policy was given", "name a policy file: --policy PATH; `outgate init` writes a first one")
    # By their real paths: a link in the project could be bent from inside, and would be followed at the next reload.
    real = tuple(_real(path) for path in settings.policy)
    settings = settings.model_copy(update={"policy": real})
    seen = snapshot(real)
    policies = load_policies(real)
    if len(policies) != 1:
        names = ", ".join(f"{policy.name} ({policy.source})" for policy in policies)
        raise ConfigError(f"there are {len(policies)} policies", f"name the file of one with --policy: {names}")
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    state = open_state(settings.state, run=f"{started}-{sandbox}")
    ca.load_or_create(state)
    keys = load_or_create_keys(state)
    proxy = own.start(settings, policies, seen, state)
    try:
        yield Served(proxy.control, state, keys, policies[0], (*_origins(real), *([] if config is None else [config])))
    finally:
        status = proxy.end()
    if status:
        raise OutgateError(
            f"the proxy of this run ended with status {status}", "its messages say why", str(state.own / own.MESSAGES)
        )


@contextlib.contextmanager
def by_running(folder: Path, name: str | None) -> Iterator[Served]:
    """Use the proxy that runs on a state folder. Raises `ConfigError` if none does, or it has no such policy."""
    state = open_state(folder, create=False)
    ready = read_ready(state.ready)
    names = [policy.name for policy in ready.policies]
    if (name is None and len(names) != 1) or (name is not None and name not in names):
        message = "the proxy has several policies" if name is None else f"the proxy has no policy {name!r}"
        raise ConfigError(message, f"choose one with --policy: {', '.join(names)}")
    chosen = ready.policies[0 if name is None else names.index(name)]
    policy = _policy(chosen)
    with contextlib.closing(handover.connect(state.control)) as control:
        yield Served(control, state, load_or_create_keys(state), policy, (*_origins([Path(chosen.source)]),))


def _policy(chosen: ReadyPolicy) -> Policy:
    found = {policy.name: policy for policy in load_policies([Path(chosen.source)])}.get(chosen.name)
    if found is None:
        raise ConfigError(
            f"the file no longer holds the policy {chosen.name}", "restart `outgate serve`", chosen.source
        )
    return found


def _real(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return path  # what is wrong with it is said where it is read


def _origins(paths: Iterable[Path]) -> Iterator[Path]:
    """The policies' files, and all of their folders that a policy may extend."""
    for path in snapshot(paths):
        if os.path.lexists(path):
            yield Path(path)
