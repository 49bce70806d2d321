"""Settings from their sources: merged, read strictly. Every error names where the value came from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from proxy import quantity, terminal
from proxy.endpoint import ConnectTo, Listen
from proxy.errors import ConfigError, OutgateError, Problem
from proxy.settings import PREFIX, Settings, default_state
from proxy.settings_file import Setting, read_file

SETTINGS_FILE = "outgate.yaml"
_NAMED_ONLY = ("connect_to", "upstream_ca", "allow_anonymous")
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
_NAMES = tuple(each.name for each in fields(Settings))


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


@with_config(ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True))
class _Given(TypedDict, total=False):
    """What may be given for each field of `Settings`."""

    policy: Annotated[tuple[_File, ...], BeforeValidator(_tuple)]
    listen: Annotated[Listen | None, BeforeValidator(_listen)]
    workers: Annotated[int, Field(ge=1, le=256)]
    state: _File
    ready_file: _File | None
    upstream_ca: Annotated[tuple[_File, ...], BeforeValidator(_tuple)]
    connect_to: Annotated[tuple[_Mapping, ...], BeforeValidator(_tuple), AfterValidator(_each_once)]
    allow_anonymous: bool
    audit: Literal["files", "stdout"]
    audit_max_bytes: Annotated[int, BeforeValidator(partial(_quantity, quantity.size)), Field(ge=16 << 10, le=1 << 40)]
    audit_max_age: Annotated[int, BeforeValidator(partial(_quantity, quantity.seconds)), Field(ge=60, le=366 * 86400)]
    audit_fsync: Literal["never", "checkpoint", "always"]
    metrics: Annotated[Listen | None, BeforeValidator(_listen)]


_GIVEN = TypeAdapter(_Given)


def merge(
    flags: Mapping[str, object], environ: Mapping[str, str], folder: Path | None, config: Path | None
) -> Settings:
    """See `proxy.settings.load_settings`."""
    settings = _from_file(environ, folder, config)
    settings.update(_from_environment(environ))
    for name, value in flags.items():
        if value is not None and value != ():
            settings[name] = Setting(value, key="--" + name.replace("_", "-"))
    if "state" not in settings:
        settings["state"] = Setting(str(default_state(environ)))
    try:
        given = _GIVEN.validate_python({name: setting.value for name, setting in settings.items()})
    except ValidationError as error:
        raise _config_error(error, settings) from None
    return Settings(**given)


def _from_file(environ: Mapping[str, str], folder: Path | None, config: Path | None) -> dict[str, Setting]:
    named = config or (Path(environ["OUTGATE_CONFIG"]) if environ.get("OUTGATE_CONFIG") else None)
    path = named or (folder and folder / SETTINGS_FILE)
    if path is None or (named is None and not path.exists()):
        return {}
    settings = read_file(path, _NAMES)
    if named is None:
        _check_unnamed(settings)
        terminal.note(f"note: settings of the working folder, from {path.absolute()}: {', '.join(settings) or 'none'}")
    for name in ("policy", "state", "ready_file", "upstream_ca"):
        if name in settings:
            settings[name] = settings[name].anchored(path.absolute().parent)
    return settings


def _check_unnamed(settings: Mapping[str, Setting]) -> None:
    """Refuse what leads requests elsewhere or lets others in: who writes in a folder could have put the file there."""
    hint = f"name the file, if it is yours: --config {SETTINGS_FILE}"
    message = "a file that is read because it is in the working folder cannot set this"
    wrong = [Problem(message, hint, settings[name].where, name) for name in _NAMED_ONLY if name in settings]
    if wrong:
        raise ConfigError.of(tuple(wrong))


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name in _NAMES:
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
