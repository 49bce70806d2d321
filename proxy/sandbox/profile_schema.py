"""The shape of a profile, version 1. `python -m proxy.sandbox.profile_schema` prints its JSON Schema for editors."""

import re
import sys
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from proxy.clients import NAMES
from proxy.config.explain import validate
from proxy.config.parse import Kind, parse
from proxy.config.schema import NotText, json_schema
from proxy.config.texts import read_id
from proxy.config.tree import Document, KeyPath, shown
from proxy.config.wrong import Wrong

PROFILE = Kind(
    noun="profile",
    plural="profiles",
    empty="a profile starts with `version: 1`, `profile: my-agent` and `extends: default`",
    split="a profile lists folders and names of files, not files",
    share="write it out, or use `extends`",
)
RESERVED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "PWD"}) | NAMES
"""Variables that no profile gives, beside those that start with OUTGATE_."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NotText
    return value


def _version(value: int) -> int:
    if value != 1:
        raise Wrong(f"version {value} of profiles is not known", "version: 1")
    return value


def _relative(value: object) -> str:
    text = _text(value)
    path = PurePosixPath(text)
    right = str(PurePosixPath(*[part for part in path.parts if part not in ("/", "..", "~", ".")]))
    if path.is_absolute() or ".." in path.parts or text.startswith("~") or str(path) != text or text in ("", "."):
        raise Wrong(
            f"a path without `~`, `..` or a slash in front or behind, not {shown(text)}", f"write {shown(right)}"
        )
    return _plain(text)


def _absolute(value: object) -> str:
    text = _text(value)
    if not PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or text != str(PurePosixPath(text)):
        raise Wrong(f"a path from the root on, not {shown(text)}", "system: [/opt/tools]")
    return _plain(text)


def _pattern(value: object) -> str:
    text = _text(value)
    if not text.removeprefix("!") or "/" in text:
        raise Wrong(f"the name of a file, without folders: {shown(text)}", "hide: [.env, '*.pem', '!.env.example']")
    return _plain(text)


def _plain(text: str) -> str:
    if not text.isprintable():
        raise Wrong(f"a control character in {shown(text)}", "remove it")
    return text


def _variable(value: object) -> str:
    text = _text(value)
    if not _VARIABLE.fullmatch(text):
        raise Wrong(f"not the name of a variable: {shown(text)}", "pass: [MY_VARIABLE]")
    if text in RESERVED or text.startswith("OUTGATE_"):
        raise Wrong(f"{text} is set by Outgate", "remove it")
    return text


_Version = Annotated[int, AfterValidator(_version), WithJsonSchema({"type": "integer", "const": 1})]
_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$"}
_Name = Annotated[str, PlainValidator(lambda value: read_id(_text(value))), WithJsonSchema(_NAME)]
_Relative = Annotated[str, PlainValidator(_relative), WithJsonSchema({"type": "string", "pattern": "^[^/~]"})]
_Absolute = Annotated[str, PlainValidator(_absolute), WithJsonSchema({"type": "string", "pattern": "^/."})]
_Pattern = Annotated[str, PlainValidator(_pattern), WithJsonSchema({"type": "string", "pattern": "^!?[^/!][^/]*$"})]
_Variable = Annotated[
    str, PlainValidator(_variable), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
_Value = Annotated[str, PlainValidator(lambda value: _plain(_text(value))), WithJsonSchema({"type": "string"})]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Home(_Part):
    """What there is in the home folder, which is new and empty otherwise. Paths from it on."""

    keep: list[_Relative] = Field(
        [], description="folders of the sandbox's own, writable, that stay for the next run", examples=[[".claude"]]
    )
    read: list[_Relative] = Field(
        [], description="files and folders of the real home folder, read-only", examples=[[".nvm", ".gitconfig"]]
    )


class Project(_Part):
    """What of the project the sandbox must not see or change."""

    hide: list[_Pattern] = Field(
        [], description="names of files and folders that look empty; `!` makes an exception", examples=[[".env"]]
    )
    readonly: list[_Relative] = Field(
        [], description="files and folders that it can read but not change, from the root on", examples=[[".vscode"]]
    )


class Environment(_Part):
    """Variables beside those that every sandbox has."""

    passed: list[_Variable] = Field(
        [], alias="pass", description="variables of the host that it gets", examples=[["EDITOR"]]
    )
    variables: dict[_Variable, _Value] = Field(
        {}, alias="set", description="variables with their values; `~/` in front is the home", examples=[{"CI": "1"}]
    )


class ProfileFile(_Part):
    """A profile of version 1."""

    version: _Version = Field(description="the version of profiles", examples=[1])
    profile: _Name = Field(description="the name of the profile", examples=["my-agent"])
    extends: _Name | None = Field(None, description="a profile of Outgate's own to start from", examples=["default"])
    commands: list[_Name] = Field([], description="commands that it is for", examples=[["claude"]])
    nested: bool | None = Field(
        None,
        description="whether the agent may make sandboxes of its own; what is read-only is not held then",
        examples=[True],
    )
    home: Home = Field(default_factory=lambda: Home.model_validate({}), description="what there is in the home folder")
    system: list[_Absolute] = Field([], description="further folders of the system", examples=[["/srv/tools"]])
    project: Project = Field(
        default_factory=lambda: Project.model_validate({}), description="what of the project is masked or read-only"
    )
    environment: Environment = Field(
        default_factory=lambda: Environment.model_validate({}), description="further variables"
    )


def read_file(data: bytes, path: str) -> tuple[Document, ProfileFile]:
    """Read one profile. Raises `ConfigError` with every fault in it. `path` is only what messages call it."""
    document = parse(data, path, PROFILE)
    return document, validate(document, ProfileFile, model_at=_model_at)


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    match path:
        case ():
            return ProfileFile
        case ("home",):
            return Home
        case ("project",):
            return Project
        case ("environment",):
            return Environment
    return None


if __name__ == "__main__":
    sys.stdout.write(json_schema(ProfileFile))
