"""The shape of a policy file, version 1: which keys there are, of which type. `python -m proxy.config.schema` prints
it as JSON Schema for editors. What keys mean together is in `keys`; what rules mean together in `check`.
"""

import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema

from proxy.config import hosts, texts
from proxy.config.known import CREDENTIAL_WARNINGS, FILE_WARNINGS, PROVIDERS, RULE_WARNINGS, SOURCES
from proxy.config.wrong import Wrong
from proxy.policy.address import Network
from proxy.policy.host import HostPattern
from proxy.policy.path import PathPattern


class NotText(ValueError):
    """The value is a number, a truth value, a list or a mapping; the reader of errors knows which."""


def _text(read: Callable[[str], object]) -> PlainValidator:
    def checked(value: object) -> object:
        if isinstance(value, str):
            return read(value)
        raise NotText

    return PlainValidator(checked)


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise NotText
    return value


def _string(pattern: str = "", **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {}), **more})


def _path(value: object, info: ValidationInfo) -> PathPattern:
    # `encoded_slash` stands before `paths` among the fields, so its value is known here.
    keep = info.data.get("encoded_slash") == "keep"
    return texts.read_path_pattern(_as_text(value), keep=keep, deny=False)


def _denied_path(value: object) -> PathPattern:
    return texts.read_path_pattern(_as_text(value), keep=False, deny=True)


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise Wrong(f"{value} is not a port", "a port is 1 to 65535")
    return value


def _version(value: int) -> int:
    if value != 1:
        raise Wrong(f"version {value} of the policy language is not known", "version: 1")
    return value


def _only_true(value: bool) -> bool:
    if not value:
        raise Wrong("it can only be true", "write `true`, or leave the key out")
    return value


# Not `Literal`: to it, `true` is 1.
_Version = Annotated[int, AfterValidator(_version), WithJsonSchema({"type": "integer", "const": 1})]
_OnlyTrue = Annotated[bool, AfterValidator(_only_true), WithJsonSchema({"type": "boolean", "const": True})]
_Id = Annotated[str, _text(texts.read_id), _string("^[a-z0-9][a-z0-9-]*$")]
_Why = Annotated[str, _text(texts.read_why), _string(r"\S")]
_Host = Annotated[HostPattern, _text(hosts.read_host), _string(r"^(\*\.)?[a-z0-9_][a-z0-9._-]*$")]
_Network = Annotated[Network, _text(hosts.read_network), _string("^[0-9a-fA-F.:]+(/[0-9]{1,3})?$")]
_Path = Annotated[PathPattern, PlainValidator(_path), _string("^/")]
_DeniedPath = Annotated[PathPattern, PlainValidator(_denied_path), _string("^/")]
_Method = Annotated[str, _text(texts.read_method), _string("^[A-Z][A-Z0-9_-]*$")]
_Port = Annotated[int, AfterValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
_Day = Annotated[date, _text(texts.read_day), _string(format="date")]
_QueryKey = Annotated[str, _text(texts.read_query_key), _string()]
_Username = Annotated[str, _text(texts.read_username), _string()]
_Header = Annotated[str, _text(texts.read_header), _string()]
_Format = Annotated[str, _text(texts.read_format), _string(r"\{secret\}")]
_Source = Annotated[str, _text(texts.read_source), _string(f"^({'|'.join(SOURCES)}):.+$")]
_Provider = Annotated[str, _text(texts.read_provider), _string(enum=list(PROVIDERS))]
_Placeholder = Annotated[str, _text(texts.read_placeholder), _string("^[A-Z_][A-Z0-9_]*$")]


def _code_of(known: tuple[str, ...]) -> PlainValidator:
    return _text(lambda text: texts.read_accepted(text, known))


_OfFile = Annotated[str, _code_of(FILE_WARNINGS), _string(enum=list(FILE_WARNINGS))]
_OfRule = Annotated[str, _code_of(RULE_WARNINGS), _string(enum=list(RULE_WARNINGS))]
_OfCredential = Annotated[str, _code_of(CREDENTIAL_WARNINGS), _string(enum=list(CREDENTIAL_WARNINGS))]
_ACCEPT = "warnings of `outgate check` that are meant"


def _list(description: str, example: list[Any]) -> Any:
    """A list that may be left out, but not empty. Its default cannot change, so that all entries share it."""
    return Field((), min_length=1, description=description, examples=[example])


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Rule(_Part):
    id: _Id = Field(description="the name of the rule, unique in the merged policy", examples=["docs"])
    why: _Why = Field(description="what the rule is for, for its reviewer", examples=["reading documentation"])
    hosts: list[_Host] = _list("exact names or `*.` in front of a name", ["docs.example.com"])
    addresses: list[_Network] = _list("IP addresses and networks", ["10.1.2.0/24"])
    access: Literal["read", "any"] | None = Field(
        None, description="`read` is GET, HEAD and OPTIONS, `any` every method", examples=["read"]
    )
    methods: list[_Method] = _list("upper-case methods", ["GET", "POST"])
    schemes: list[Literal["http", "https"]] = _list("http, https or both", ["https"])
    ports: list[_Port] = _list("ports instead of the usual ones", [8443])


class AllowRule(_Rule):
    """One entry of `allow`."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["hosts"]}, {"required": ["addresses"]}]})

    encoded_slash: Literal["keep"] | None = Field(
        None, description="`%2F` is an ordinary character inside a segment", examples=["keep"]
    )
    paths: list[_Path] = _list("`*` is one segment, a final `**` the rest", ["/v1/messages/*"])
    query: dict[_QueryKey, str] = Field(
        default_factory=dict,
        min_length=1,
        description="keys that must occur exactly once with this value",
        examples=[{"state": "open"}],
    )
    http2: bool = Field(False, description="offer HTTP/2 to the client", examples=[True])
    trace_context: Literal["keep"] | None = Field(
        None, description="`traceparent`, `tracestate` and `baggage` of the client go upstream", examples=["keep"]
    )
    inspect: bool = Field(True, description="false opens a tunnel: only host and port are checked", examples=[False])
    expires: _Day | None = Field(None, description="the last day on which the rule allows", examples=["2027-01-31"])
    credential: _Id | None = Field(None, description="the name of a credential to inject", examples=["github"])
    accept: list[_OfRule] = _list(_ACCEPT, ["rule_expiring"])


class DenyRule(_Rule):
    """One entry of `deny`. What it leaves out, it denies: every method, path, scheme and port."""

    model_config = AllowRule.model_config

    paths: list[_DeniedPath] = _list("`*` is one segment, a final `**` the rest", ["/admin/**"])
    query: dict[_QueryKey, str] = Field(
        default_factory=dict,
        min_length=1,
        description="keys of which any occurrence with this value counts",
        examples=[{"force": "true"}],
    )


class Basic(_Part):
    """`basic` of an injection: the secret is the password."""

    username: _Username = Field(description="the user name beside the secret", examples=["x-access-token"])


class InjectEntry(_Part):
    """Where a secret goes in a request."""

    header: _Header | None = Field(None, description="the name of a header", examples=["X-Api-Key"])
    format: _Format | None = Field(
        None, description="the header's value, with `{secret}` in it", examples=["token {secret}"]
    )
    bearer: _OnlyTrue | None = Field(None, description="`Authorization: Bearer`", examples=[True])
    basic: Basic | None = Field(
        None, description="`Authorization: Basic` with a user name", examples=[{"username": "x-access-token"}]
    )
    query: _QueryKey | None = Field(None, description="the key of a query parameter", examples=["key"])


class CredentialEntry(_Part):
    """One entry of `credentials`. It says where a secret is, never what it is."""

    source: _Source = Field(alias="from", description="where the secret is read", examples=["env:GITHUB_TOKEN"])
    hosts: list[_Host] = Field(
        min_length=1, description="the only hosts that the secret may travel to", examples=[["api.github.com"]]
    )
    provider: _Provider | None = Field(
        None, description="a known service: its slots, its form, its usage", examples=["github"]
    )
    inject: InjectEntry | None = Field(None, description="where the secret goes", examples=[{"bearer": True}])
    placeholder: _Placeholder | None = Field(
        None, description="the sandbox's variable that holds the fake", examples=["GITHUB_TOKEN"]
    )
    client_credentials: Literal["refuse", "replace"] = Field(
        "refuse", description="what happens to a key that the client sends itself", examples=["refuse"]
    )
    accept: list[_OfCredential] = _list(_ACCEPT, ["credential_unused_host"])


class PolicyFile(_Part):
    """A policy file of version 1."""

    version: _Version = Field(description="the version of the policy language", examples=[1])
    name: _Id = Field(description="the name of the policy", examples=["web-app-agent"])
    extends: list[_Id] = _list("other policies in the same folder, by file name", ["baseline"])
    mode: Literal["enforce", "observe"] = Field(
        "enforce", description="`observe` logs what would be denied and lets it pass", examples=["enforce"]
    )
    accept: list[_OfFile] = _list(_ACCEPT, ["observe_mode"])
    allow: list[AllowRule] = Field([], description="what may pass")
    deny: list[DenyRule] = Field([], description="what never passes, whatever another rule allows")
    credentials: dict[_Id, CredentialEntry] = Field({}, description="the secrets that rules may inject")


def json_schema(model: type[BaseModel] = PolicyFile) -> str:
    """The JSON Schema of a policy file, as `policies/schema.json` holds it, or of another file."""
    schema = _without_nulls(model.model_json_schema())
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _without_nulls(value: Any) -> Any:
    """Drop the `null` that only marks an optional key: a key without a value is an error."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_nulls(item) for key, item in value.items() if not _noise(key, item)}
    choices = kept.get("anyOf")
    if isinstance(choices, list) and len(choices) == 1:
        del kept["anyOf"]
        kept |= choices[0]
    return kept


def _noise(key: str, item: object) -> bool:
    return (key == "default" and item in (None, [], {})) or (key == "title" and isinstance(item, str))


if __name__ == "__main__":
    sys.stdout.write(json_schema())
