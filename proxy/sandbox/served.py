"""The proxy of a run: one of its own, or one that runs already."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from proxy import clients, roots
from proxy.boundary import Boundary
from proxy.credentials.placeholder import placeholders
from proxy.credentials.sources import EnvSource, FileSource, parse_source
from proxy.errors import ConfigError, OutgateError
from proxy.identity import Keys, load_or_create_keys
from proxy.policy.rules import Policy
from proxy.ready import ReadyPolicy, read_ready
from proxy.sandbox import handover, own
from proxy.settings import Settings, load_settings
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


type Serve = Callable[[str], Served]
"""Makes the proxy serve, for a run of the name that is given. Raises `OutgateError`."""


@contextlib.contextmanager
def by_own(flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None) -> Iterator[Serve]:
    """Start a proxy for one sandbox, and end it with the block. Raises `OutgateError`, also if it did not end well.

    It loads meanwhile what it needs, so what can be made ready without it should be in the block.
    """
    proxy = own.start()
    state: StateDir | None = None

    def serve(sandbox: str) -> Served:
        nonlocal state
        settings = _settings(flags, environ, config)
        real = settings.policy
        policy = _only_policy(real)
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        state = open_state(settings.state, run=f"{started}-{sandbox}")
        _have_roots(state)
        keys = load_or_create_keys(state)
        # It serves what was read here, to its end: nothing that is written later has a say in it.
        proxy.begin(own.Work(replace(settings, policy=()), policy, {}, state))
        return Served(proxy.control, state, keys, policy, (*_origins(real), *_trusted(settings, environ, config)))

    try:
        yield serve
    finally:
        status = proxy.end()
    if status and state is not None:
        raise OutgateError(
            f"the proxy of this run ended with status {status}", "its messages say why", str(state.own / own.MESSAGES)
        )


@contextlib.contextmanager
def by_running(folder: Path, name: str | None) -> Iterator[Serve]:
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
        # All that the proxy serves: who could change another policy of it could give itself that one's rules.
        files = tuple(_origins(Path(each.source) for each in ready.policies))
        served = Served(control, state, load_or_create_keys(state), policy, files)
        yield lambda _: served


def _settings(flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None) -> Settings:
    # No file of the working folder: a sandbox may have written it, and it could open what it likes.
    settings = load_settings({**flags, "workers": 1, "listen": "none"}, environ, None, config)
    if not settings.policy:
        raise ConfigError("no policy was given", "name a policy file: --policy PATH; `outgate init` writes a first one")
    return replace(settings, policy=tuple(_real(path) for path in settings.policy))


def _trusted(settings: Settings, environ: Mapping[str, str], config: Path | None) -> Iterator[Path]:
    """Beside policies, the files that say what this proxy trusts: the next run reads them again."""
    named = config or (Path(environ["OUTGATE_CONFIG"]) if environ.get("OUTGATE_CONFIG") else None)
    if named is not None:
        yield named.absolute()
    yield from (path.absolute() for path in settings.upstream_ca)


def _only_policy(paths: Sequence[Path]) -> Policy:
    from proxy.config.load import load_policies  # after the proxy was started, which loads something else meanwhile

    policies = load_policies(paths)
    if len(policies) != 1:
        names = ", ".join(f"{policy.name} ({policy.source})" for policy in policies)
        raise ConfigError(f"there are {len(policies)} policies", f"name the file of one with --policy: {names}")
    return policies[0]


def _have_roots(state: StateDir) -> None:
    """Make the files of the CA that the sandbox gets. Whether the CA itself is sound, the proxy says."""
    if not roots.are_current(state):
        from proxy import ca  # slow to load

        ca.load_or_create(state)


def _policy(chosen: ReadyPolicy) -> Policy:
    from proxy.config.load import load_policies

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
