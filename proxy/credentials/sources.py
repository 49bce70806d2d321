"""Sources: where the text of `from` leads, and the readings of what is there.

`env:NAME` is read from the mapping that the store is given, `file:/path` from the file, again when it changes.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from proxy.credentials.secret import Secret
from proxy.errors import ConfigError, Problem
from proxy.policy.credential import CredentialSpec

MAX_SIZE = 64 * 1024

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RIGHT_FORM = "write env:NAME or file:/absolute/path"

# What tells one state of a file from the next: time of change in nanoseconds, inode, size.
type _Version = tuple[int, int, int]


class CredentialUnavailable(RuntimeError):
    """A credential cannot be read now. `why` names neither its value nor a path of the host."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"credential {name}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class EnvSource:
    """`env:NAME`: a variable of the proxy's own environment."""

    variable: str


@dataclass(frozen=True, slots=True)
class FileSource:
    """`file:/path`: a regular file of at most 64 KiB, named by an absolute path."""

    path: str


type Source = EnvSource | FileSource


@lru_cache(maxsize=1024)  # asked for each secret that is sent
def parse_source(text: str) -> Source:
    """Read the text of `from`. Raises `ConfigError` with the right form."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("env", "file"):
        raise ConfigError("not a source of secrets", _RIGHT_FORM)
    if kind == "env":
        if not _VARIABLE.fullmatch(rest):
            raise ConfigError("not the name of an environment variable", "write env:NAME, for example env:GITHUB_TOKEN")
        return EnvSource(rest)
    if not rest.startswith("/") or rest.startswith("//") or "\0" in rest:
        raise ConfigError("not an absolute path", "write file:/absolute/path, for example file:/run/secrets/token")
    return FileSource(rest)


class Readings:
    """What sources hold, read once for all policies, again when it changes. `environ` is the proxy's own.

    `replaced` is called with each secret that another one has taken the place of.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.replaced: Callable[[Source, Secret], None] = lambda _source, _secret: None
        self._environ = environ
        self._held: dict[Source, tuple[_Version | None, Secret]] = {}

    def read(self, source: Source) -> Secret:
        """The secret, as its source has it now. Raises `ConfigError`."""
        held = self._held.get(source)
        if isinstance(source, FileSource):
            version: _Version | None = _version(_stat(source.path))
            if held is not None and held[0] == version:
                return held[1]
            raw, version = _read_file(source.path)
        elif held is not None:
            return held[1]
        else:
            raw, version = _read_variable(source.variable, self._environ), None
        secret = Secret(raw)
        self._held[source] = (version, secret)
        if held is not None:
            self.replaced(source, held[1])
        return secret

    def held(self, source: Source) -> Secret | None:
        """The secret as it was read last; None for one that never could be."""
        held = self._held.get(source)
        return None if held is None else held[1]

    def last(self, source: Source) -> Secret | None:
        """The secret as its source has it now, or, if it went away, as it was read last."""
        try:
            return self.read(source)
        except ConfigError:
            return self.held(source)


class SecretStore:
    """The secrets of one policy, read from their sources: through `readings`, where policies share them.

    Raises `ConfigError` for a source that is not well formed.
    """

    def __init__(
        self, specs: Mapping[str, CredentialSpec], environ: Mapping[str, str], readings: Readings | None = None
    ) -> None:
        self._specs = specs
        self._readings = Readings(environ) if readings is None else readings
        self._sources = {name: _source_of(spec) for name, spec in specs.items()}

    def load_all(self) -> None:
        """Read every secret once, at start-up. Raises one `ConfigError` that tells of each that cannot be read."""
        problems = []
        for name, spec in self._specs.items():
            try:
                self._readings.read(self._sources[name])
            except ConfigError as error:
                problem = error.problems[0]
                problems.append(Problem(f"credential {name} ({spec.source}): {problem.message}", problem.hint))
        if problems:
            raise ConfigError.of(tuple(problems))

    def get(self, name: str) -> Secret:
        """The secret, as its source has it now. Raises `CredentialUnavailable`.

        The last good value is not kept for a source that went away: taking a secret away must work.
        """
        if name not in self._sources:
            raise CredentialUnavailable(name, "the policy has no such credential")
        try:
            return self._readings.read(self._sources[name])
        except ConfigError as error:
            raise CredentialUnavailable(name, str(error)) from None


def _source_of(spec: CredentialSpec) -> Source:
    try:
        return parse_source(spec.source)
    except ConfigError as error:
        problem = error.problems[0]
        raise ConfigError(f"credential {spec.name}: {problem.message}", problem.hint) from None


def _read_variable(variable: str, environ: Mapping[str, str]) -> bytes:
    value = environ.get(variable)
    if value is None:
        raise ConfigError("the environment variable is not set", f"set {variable} where the proxy is started")
    if len(value) > MAX_SIZE:
        raise ConfigError("the value is larger than 64 KiB", "name the variable that holds the secret alone")
    return value.encode("utf-8", "surrogateescape")


def _read_file(path: str) -> tuple[bytes, _Version]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError("the source is not a regular file", _RIGHT_FORM)
            raw = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _cannot_read(error) from None
    if len(raw) > MAX_SIZE:
        raise ConfigError("the file is larger than 64 KiB", "name a file that holds the secret alone")
    return raw, _version(status)


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO would keep the proxy waiting for its writer.
    return os.open(path, flags | os.O_NONBLOCK)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - asked several times in each request
    except OSError as error:
        raise _cannot_read(error) from None


def _version(status: os.stat_result) -> _Version:
    return status.st_mtime_ns, status.st_ino, status.st_size


def _cannot_read(error: OSError) -> ConfigError:
    # Never str(error): it holds the path, and this text can reach the sandbox.
    why = (error.strerror or "unknown error").lower()
    return ConfigError(f"the file cannot be read: {why}", "the file must exist and be readable by the proxy's user")
