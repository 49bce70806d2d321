"""Process settings: flags, environment variables and `outgate.yaml`, in this order of precedence.

One frozen model; every error names where the value came from. That upstream certificates are verified is no setting.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy import quantity
from proxy.endpoint import ConnectTo, Listen
from proxy.errors import ConfigError, OutgateError, Problem
from proxy.settings_file import Setting, read_file

SETTINGS_FILE = "outgate.yaml"
PREFIX = "OUTGATE_"
LISTS = frozenset({"policy", "upstream_ca", "connect_to"})
_FORMS = {
    "policy": "a path, or a list of paths",
    "listen": "ADDRESS:PORT, as in 127.0.0.1:8899 or [::1]:8899, or none",
    "workers": "a whole number from 1 to 256",
    "state": "a path",
    "ready_file": "a path",
    "upstream_ca": "a path, or a list of paths",
    "connect_to": "HOST:PORT:ADDR:PORT, as in api.example.com:443:127.0.0.1:8443, or a list of these; IPv6 in brackets",
    "allow_anonymous": "true or false",
    "audit": "files or stdout",
    "audit_max_bytes": "a size from 16KiB to 1024GiB, as in 64MiB",
    "audit_max_age": "a time from 1m to 366d, as in 24h",
    "audit_fsync": "never, checkpoint or always",
    "metrics": "ADDRESS:PORT, as in 127.0.0.1:9464 or [::1]:9464, or none",
}
_WORDS = {"1": True, "true": True, "0": False, "false": False}


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


def _path(value: object) -> object:
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError("not a path")
        return Path(value)
    return value


def _parsed[T](parse: type[Listen] | type[ConnectTo], value: T) -> T | Listen | ConnectTo:
    return parse.parse(value) if isinstance(value, str) else value


def _listen(value: object) -> object:
    return None if value == "none" else _parsed(Listen, value)


def _quantity(parse: Callable[[str], int], value: object) -> object:
    return parse(value) if isinstance(value, str) else value


def _tuple(value: object) -> object:
    if isinstance(value, str):
        return (value,)  # one value may stand without a list
    return tuple(value) if isinstance(value, list) else value


def _each_once(mappings: tuple[ConnectTo, ...]) -> tuple[ConnectTo, ...]:
    keys = [mapping.key for mapping in mappings]
    for name, port in keys:
        if keys.count((name, port)) > 1:
            raise ValueError(f"{name}:{port} is mapped twice")
    return mappings


type _File = Annotated[Path, BeforeValidator(_path)]
type _Mapping = Annotated[ConnectTo, BeforeValidator(partial(_parsed, ConnectTo))]


class Settings(BaseModel):
    """All settings of `outgate serve`. The names are those of the flags, with `_` for `-`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)

    policy: Annotated[tuple[_File, ...], BeforeValidator(_tuple)] = ()
    listen: Annotated[Listen | None, BeforeValidator(_listen)] = Listen(IPv4Address("127.0.0.1"), 8899)
    workers: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=usable_cores)
    state: _File = Field(default_factory=lambda: default_state(os.environ))
    ready_file: _File | None = None
    upstream_ca: Annotated[tuple[_File, ...], BeforeValidator(_tuple)] = ()
    connect_to: Annotated[tuple[_Mapping, ...], BeforeValidator(_tuple), AfterValidator(_each_once)] = ()
    allow_anonymous: bool = False
    audit: Literal["files", "stdout"] = "files"
    audit_max_bytes: Annotated[
        int, BeforeValidator(partial(_quantity, quantity.size)), Field(ge=16 << 10, le=1 << 40)
    ] = 64 << 20
    audit_max_age: Annotated[
        int, BeforeValidator(partial(_quantity, quantity.seconds)), Field(ge=60, le=366 * 86400)
    ] = 86400
    audit_fsync: Literal["never", "checkpoint", "always"] = "checkpoint"
    metrics: Annotated[Listen | None, BeforeValidator(_listen)] = None

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
    settings = _from_file(environ, folder, config)
    settings.update(_from_environment(environ))
    for name, value in flags.items():
        if value is not None and value != ():
            settings[name] = Setting(value, key="--" + name.replace("_", "-"))
    if "state" not in settings:
        settings["state"] = Setting(str(default_state(environ)))
    try:
        return Settings.model_validate({name: setting.value for name, setting in settings.items()})
    except ValidationError as error:
        raise _config_error(error, settings) from None


def _from_file(environ: Mapping[str, str], folder: Path | None, config: Path | None) -> dict[str, Setting]:
    named = config or (Path(environ["OUTGATE_CONFIG"]) if environ.get("OUTGATE_CONFIG") else None)
    path = named or (folder and folder / SETTINGS_FILE)
    if path is None or (named is None and not path.exists()):
        return {}
    settings = read_file(path, tuple(Settings.model_fields))
    for name in ("policy", "state", "ready_file", "upstream_ca"):
        if name in settings:
            settings[name] = settings[name].anchored(path.absolute().parent)
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        text = environ.get(variable, "").strip()
        if text:  # an empty variable counts as unset, as in `docker run -e NAME=`
            found[name] = Setting(_read_text(name, variable, text), key=variable)
    return found


def _read_text(name: str, variable: str, text: str) -> object:
    if name in LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    if name == "workers":
        if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII):
            raise _wrong(name, variable, "not a whole number")
        return int(text)
    if name == "allow_anonymous":
        if text.lower() not in _WORDS:
            raise _wrong(name, variable, "neither true nor false")
        return _WORDS[text.lower()]
    return text


def _wrong(name: str, variable: str, message: str) -> OutgateError:
    return ConfigError.of((Problem(message, f"the right form is {_FORMS[name]}", key=variable),))


def _config_error(error: ValidationError, settings: Mapping[str, Setting]) -> OutgateError:
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        name = str(detail["loc"][0])
        own = detail["type"] == "value_error"
        message = detail["msg"].removeprefix("Value error, ") if own else "not a value for this setting"
        setting = settings[name]
        problems.append(Problem(message, f"the right form is {_FORMS[name]}", setting.where, setting.key))
    return ConfigError.of(tuple(problems))


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
