"""The file that holds what is expected of a policy: `policies/tests/NAME.yaml`. Strict, and every key knows its line.

`python -m proxy.review.suite` prints its JSON Schema for editors.
"""

import difflib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from proxy.config import texts
from proxy.config.explain import validate
from proxy.config.parse import Kind, parse
from proxy.config.schema import NotText, json_schema
from proxy.config.tree import Document, KeyPath, Plain, shown
from proxy.config.wrong import Wrong
from proxy.errors import ConfigError, Problem
from proxy.policy.reason import Reason
from proxy.review.asked import Asked, parse_asked

SUITE = Kind(
    noun="suite",
    plural="suites",
    empty="a suite starts with `policy: my-agent`, and below `cases:` has one `- request: ...` for each expectation",
    split="split it: a policy can have several suites",
    share="write it out",
)
# What a policy can say to a request by itself; the other reasons turn on a connection.
REASONS = (
    *(Reason.ALLOWED, Reason.HOST_NOT_ALLOWED, Reason.PORT_NOT_ALLOWED, Reason.SCHEME_NOT_ALLOWED),
    *(Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED, Reason.QUERY_NOT_ALLOWED, Reason.DENIED_BY_RULE),
    *(Reason.RULE_EXPIRED, Reason.ADDRESS_NOT_ALLOWED, Reason.AMBIGUOUS_PATH, Reason.PROTOCOL_NOT_ALLOWED),
    Reason.MALFORMED_REQUEST,
)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NotText
    return value


def _asked(value: object) -> Asked:
    method, _, target = _text(value).partition(" ")
    if not target:
        raise Wrong("a request is a method and a URL", "request: GET https://api.example.com/v1/models")
    try:
        return parse_asked(method, target.strip())
    except ConfigError as error:
        raise Wrong(error.problems[0].message, error.problems[0].hint) from None


def _reason(value: object) -> Reason:
    text = _text(value)
    if text in REASONS:
        return Reason(text)
    if text in set(Reason):
        raise Wrong(f"no policy alone decides {shown(text)}", f"one of {', '.join(REASONS)}")
    near = difflib.get_close_matches(text, REASONS, n=1)
    raise Wrong(f"no such reason: {shown(text)}", f"write `{near[0]}`" if near else f"one of {', '.join(REASONS)}")


def _credential(value: object) -> str | None:
    if value is False:
        return None
    if not isinstance(value, str):
        raise Wrong("a credential is a name, or `false` for none", "credential: github")
    return texts.read_id(value)


_ID = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$"}
_Request = Annotated[
    Asked, PlainValidator(_asked), WithJsonSchema({"type": "string", "pattern": r"^[A-Z][A-Z0-9_-]* +\S+$"})
]
_Name = Annotated[str, PlainValidator(lambda value: texts.read_id(_text(value))), WithJsonSchema(_ID)]
_Day = Annotated[
    date,
    PlainValidator(lambda value: texts.read_day(_text(value))),
    WithJsonSchema({"type": "string", "format": "date"}),
]
_ReasonCode = Annotated[
    Reason, PlainValidator(_reason), WithJsonSchema({"type": "string", "enum": [str(reason) for reason in REASONS]})
]
_Credential = Annotated[
    str | None, PlainValidator(_credential), WithJsonSchema({"anyOf": [_ID, {"type": "boolean", "const": False}]})
]
_Why = Annotated[
    str,
    PlainValidator(lambda value: texts.read_why(_text(value))),
    WithJsonSchema({"type": "string", "pattern": r"\S"}),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class Case(_Part):
    """One expectation. What it leaves out is not looked at."""

    request: _Request = Field(
        description="a method and a URL, or CONNECT and host:port for a tunnel",
        examples=["POST https://api.example.com/v1/messages?x=y"],
    )
    expect: Literal["allow", "deny"] = Field(description="the verdict", examples=["allow"])
    reason: _ReasonCode | None = Field(None, description="the reason of the decision", examples=["path_not_allowed"])
    rule: _Name | None = Field(None, description="the rule that decides, or comes closest", examples=["docs"])
    credential: _Credential = Field(
        None, description="the credential that is injected, or false for none", examples=["github"]
    )
    why: _Why | None = Field(None, description="why it matters; shown if it fails", examples=["no drop for data"])


class SuiteFile(_Part):
    """What is expected of one policy."""

    policy: _Name = Field(description="the name of the policy, in the folder above", examples=["web-app-agent"])
    today: _Day | None = Field(None, description="the day to judge on, instead of today's", examples=["2026-11-20"])
    cases: list[Case] = Field(
        min_length=1,
        description="the expectations",
        examples=[[{"request": "GET https://docs.example.com/", "expect": "allow"}]],
    )


@dataclass(frozen=True, slots=True)
class Suite:
    """One file, read: `model` is what it says, `document` knows where."""

    document: Document
    model: SuiteFile

    def where(self, index: int, key: str) -> str:
        """`file:line:column` of a key's value in a case."""
        return self.document.where(("cases", index, key))

    def text(self, index: int) -> str:
        """The request of a case as it was written."""
        node = self.document.node(("cases", index, "request"))
        return node.text if node else ""


def read_suite(data: bytes, path: str) -> Suite:
    """Read one suite. Raises `ConfigError` with every fault in it. `path` is only what messages call it."""
    document = parse(data, path, SUITE)
    return Suite(document, validate(document, SuiteFile, _contradictions(document), _model_at))


def _contradictions(document: Document) -> Iterator[Problem]:
    """Cases that cannot both hold, or say the same twice, or hold a key against another."""
    cases = plain.get("cases") if isinstance(plain := document.plain, dict) else None
    first: dict[str, int] = {}
    for index, case in enumerate(cases if isinstance(cases, list) else []):
        if not isinstance(case, dict):
            continue
        if isinstance(request := case.get("request"), str):
            if request in first:
                place = document.where(("cases", first[request], "request")).rpartition(":")[0]
                hint = f"it stands at {place} already; keep one of the two"
                yield document.problem(("cases", index, "request"), "the request is given twice", hint)
            first.setdefault(request, index)
        yield from _against(document, index, case)


def _against(document: Document, index: int, case: dict[str, Plain]) -> Iterator[Problem]:
    if case.get("expect") == "deny" and case.get("reason") == Reason.ALLOWED:
        yield document.problem(("cases", index, "reason"), "`reason: allowed` with `expect: deny`", "leave one out")
    if case.get("expect") == "deny" and isinstance(case.get("credential"), str):
        hint = "leave `credential` out: what is refused gets none"
        yield document.problem(("cases", index, "credential"), "a credential with `expect: deny`", hint)


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    match path:
        case ():
            return SuiteFile
        case ("cases", int()):
            return Case
    return None


if __name__ == "__main__":
    sys.stdout.write(json_schema(SuiteFile))
