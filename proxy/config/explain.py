"""What pydantic found wrong -> problems that name file, line, column and key, and show the right form."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from proxy.config.schema import (
    AllowRule,
    Basic,
    CredentialEntry,
    DenyRule,
    InjectEntry,
    NotText,
    PolicyFile,
)
from proxy.config.tree import Document, KeyPath, Node, failure, shown
from proxy.config.wrong import Wrong
from proxy.errors import Problem

_KINDS = {
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "bool_type": "`true` or `false`",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
}


type ModelAt = Callable[[KeyPath], type[BaseModel] | None]
"""The model of the mapping at a path of a file, or None where the language has none."""


def validate[M: BaseModel](
    document: Document, model: type[M], found: Iterable[Problem] = (), model_at: "ModelAt | None" = None
) -> M:
    """The document as its model. `model_at` knows the shape of the file; without it, it is a policy.

    Raises `ConfigError` with every problem: those of the document, those `found` already, and what the model refuses.
    """
    at = model_at or _model
    nulls = frozenset(document.nulls())
    problems = [*document.problems, *(_empty(document, null, at) for null in sorted(nulls, key=repr)), *found]
    try:
        read = model.model_validate(document.plain)
    except ValidationError as error:
        problems.extend(explain(error, document, nulls, at))
    if problems:
        raise failure(sorted(problems, key=_by_place))
    return read


def explain(
    error: ValidationError, document: Document, nulls: frozenset[KeyPath], model_at: ModelAt
) -> Iterator[Problem]:
    """One problem per fault. Keys in `nulls` are left out: that they have no value is said elsewhere."""
    for fault in error.errors(include_url=False, include_input=False):
        at_key = fault["loc"][-1:] == ("[key]",)
        path: KeyPath = fault["loc"][:-1] if at_key else fault["loc"]
        if path in nulls:
            continue
        message, hint = _words(fault, path, document, model_at)
        yield document.problem(path, message, hint, at_key=at_key or fault["type"] == "extra_forbidden")


def right_form(path: KeyPath, model_at: "ModelAt | None" = None) -> str:
    """An example of the key at the path, as it would stand in a file; empty where the language has none."""
    model, key = (model_at or _model)(path[:-1]), path[-1] if path else ""
    if isinstance(key, int):
        return right_form(path[:-1], model_at)
    found = {field.alias or name: field for name, field in model.model_fields.items()}.get(key) if model else None
    if found is None or not found.examples:
        return _SECTIONS.get(key, "")
    # As the one item of a flow list, because a bare scalar would be dumped with an end-of-document line.
    value = yaml.safe_dump([found.examples[0]], default_flow_style=True, width=200, sort_keys=False)
    return f"{key}: {value.strip()[1:-1]}"


_SECTIONS = {
    "allow": "allow:, and below it one `- id: ...` for each rule",
    "deny": "deny:, and below it one `- id: ...` for each rule",
    "credentials": "credentials:, and below it one mapping for each name",
}


def _empty(document: Document, path: KeyPath, model_at: ModelAt) -> Problem:
    subject = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "an item of a list"
    hint = right_form(path, model_at) or "give it one, or remove it"
    return document.problem(path, f"{subject} has no value", hint)


def _by_place(problem: Problem) -> tuple[int, int]:
    numbers = [int(part) for part in problem.where.rsplit(":", 2)[1:] if part.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def _words(fault: Any, path: KeyPath, document: Document, model_at: ModelAt) -> tuple[str, str]:
    kind, context = fault["type"], fault.get("ctx", {})
    node = document.node(path)
    if isinstance(cause := context.get("error"), Wrong):
        return cause.message, cause.hint
    form = right_form(path, model_at)
    if isinstance(cause, NotText):
        return _not_text(path, node, form)
    match kind:
        case "missing":
            return f"`{path[-1]}` is missing", form
        case "extra_forbidden":
            return _unknown_key(path, model_at)
        case "literal_error":
            return _not_listed(path, node, context["expected"], form)
        case "too_short":
            return f"{_subject(path)} is empty", f"leave it out, or write {form}"
        case "string_type":
            return _not_text(path, node, form)
    if kind in _KINDS:
        return f"{_subject(path)} is {_KINDS[kind]}, not {_kind(node)}", _hint_of_kind(kind, path, node, form)
    return f"{_subject(path)}: {fault['msg']}", form


def _subject(path: KeyPath) -> str:
    if path and isinstance(path[-1], str):
        return shown(path[-1])
    section = next((key for key in reversed(path) if isinstance(key, str)), "")
    return f"an entry of `{section}`" if section else "a policy"


def _kind(node: Node | None) -> str:
    if node is None or isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if isinstance(node.value, bool):
        return "a truth value"
    return "a number" if isinstance(node.value, int | float) else "text"


def _not_text(path: KeyPath, node: Node | None, form: str) -> tuple[str, str]:
    message = f"{_subject(path)} is text, not {_kind(node)}"
    if node is None or isinstance(node.value, list | dict) or path[0] == "credentials":
        return message, form or "write plain text"
    return message, f'quote it: "{node.text[:60]}"'


def _not_listed(path: KeyPath, node: Node | None, expected: str, form: str) -> tuple[str, str]:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    listed = " or ".join(f"`{choice}`" for choice in choices)
    near = difflib.get_close_matches(node.text.lower() if node else "", choices, n=1)
    return f"{_subject(path)} is {listed}", f"write `{near[0]}`" if near else form


def _hint_of_kind(kind: str, path: KeyPath, node: Node | None, form: str) -> str:
    key = path[-1] if path else ""
    if kind == "list_type" and node and node.text and isinstance(key, str) and key not in _SECTIONS:
        item = f'"{node.text[:60]}"' if node.text.startswith("*") else node.text[:60]
        return f"{key}: [{item}]"
    return form


def _unknown_key(path: KeyPath, model_at: ModelAt) -> tuple[str, str]:
    key, model = str(path[-1]), model_at(path[:-1])
    known = _keys(model)
    message = f"unknown key {shown(key)}"
    if model is DenyRule and key in _keys(AllowRule):
        return f"a deny rule has no {shown(key)}", "remove it: a deny rule holds always, whatever another rule allows"
    if near := difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6):
        return message, f"did you mean `{near[0]}`?"
    return message, "the keys here are " + ", ".join(f"`{name}`" for name in known)


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model(path: KeyPath) -> type[BaseModel] | None:
    """The model of the mapping at the path."""
    match path:
        case ():
            return PolicyFile
        case ("allow", int()):
            return AllowRule
        case ("deny", int()):
            return DenyRule
        case ("credentials", str()):
            return CredentialEntry
        case ("credentials", str(), "inject"):
            return InjectEntry
        case ("credentials", str(), "inject", "basic"):
            return Basic
    return None
