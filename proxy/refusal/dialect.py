"""Who is told how: the channel and the error shape that each client shows to its user.

Which client shows what was measured with the clients themselves (docs/refusals.md).
"""

import re
from collections.abc import Callable
from enum import Enum, auto

from proxy.exchange import Exchange
from proxy.policy.reason import Reason
from proxy.refusal.facts import Facts

type Shape = Callable[[Facts, int], dict[str, object]]


class Dialect(Enum):
    """The form of a refusal; `PROBLEM` suits every client that has no form of its own."""

    PROBLEM = auto()
    GIT = auto()
    NPM = auto()
    OCI = auto()
    ANTHROPIC = auto()
    OPENAI = auto()
    GOOGLE = auto()
    WEBSOCKET = auto()
    GRPC = auto()


_GIT = re.compile(r"git/")
_NPM = re.compile(r"(?:npm|pnpm|yarn|bun)/", re.IGNORECASE)
# The engines and libraries that pull images; the API's own paths name the rest (OCI distribution specification, 5).
_OCI = re.compile(
    r"(?:docker|docker-client|containerd|buildkit|containers|skopeo|libpod|podman|buildah|go-containerregistry|crane|oras)/",
    re.IGNORECASE,
)
_OCI_PATH = re.compile(r"/v2/(?:.+/(?:manifests|blobs|tags|referrers)/.*)?", re.DOTALL)

_PROVIDER_HOSTS = {
    "api.anthropic.com": Dialect.ANTHROPIC,
    "api.openai.com": Dialect.OPENAI,
    "generativelanguage.googleapis.com": Dialect.GOOGLE,
}
_PROVIDERS = {
    "anthropic": Dialect.ANTHROPIC,
    "openai": Dialect.OPENAI,
    "google": Dialect.GOOGLE,
    "gemini": Dialect.GOOGLE,
}


def dialect_of(exchange: Exchange, reason: Reason, *, connect: bool) -> Dialect:
    """The form for one refusal. A CONNECT and a proxy challenge are between the client's HTTP stack and us: plain."""
    agent = exchange.user_agent
    if _GIT.match(agent):
        return Dialect.GIT
    if connect or reason is Reason.UNAUTHENTICATED:
        return Dialect.PROBLEM
    if exchange.grpc:
        return Dialect.GRPC
    if exchange.websocket:
        return Dialect.WEBSOCKET
    if _NPM.match(agent):
        return Dialect.NPM
    if _OCI.match(agent) or _OCI_PATH.fullmatch(exchange.path):
        return Dialect.OCI
    return _provider(exchange)


def _provider(exchange: Exchange) -> Dialect:
    host = exchange.host
    if host is None:
        return Dialect.PROBLEM
    if host.name in _PROVIDER_HOSTS:
        return _PROVIDER_HOSTS[host.name]
    for spec in exchange.policy.credentials.values():
        if spec.provider in _PROVIDERS and spec.bound_to(host):
            return _PROVIDERS[spec.provider]
    return Dialect.PROBLEM


def git_text(facts: Facts) -> str:
    """Plain text: git prints each line after `remote:`."""
    helping = f"help: {facts.help}\n" if facts.help else ""
    return f"{facts.sentence}\n{facts.detail}\nhint: {facts.hint}\n{helping}audit id: {facts.audit_id}\n"


def oci_errors(facts: Facts, status: int) -> dict[str, object]:
    """The registry's error list (OCI distribution specification, "Error Codes"); docker prints `denied: MESSAGE`."""
    code = "TOOMANYREQUESTS" if status == 429 else "UNAVAILABLE" if status >= 500 else "DENIED"
    return {"errors": [{"code": code, "message": facts.message, "detail": facts.problem(status)}]}


def anthropic_error(facts: Facts, status: int) -> dict[str, object]:
    """The Messages API's error object (docs.anthropic.com, "Errors") over the problem."""
    kinds = {400: "invalid_request_error", 429: "rate_limit_error"}
    kind = "api_error" if status >= 500 else kinds.get(status, "permission_error")
    return facts.problem(status) | {"type": "error", "error": {"type": kind, "message": _advice(facts)}}


def openai_error(facts: Facts, status: int) -> dict[str, object]:
    """OpenAI's error object (platform.openai.com, "Error codes") beside the problem."""
    kinds = {400: "invalid_request_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "permission_error")
    error = {"message": _advice(facts), "type": kind, "param": None, "code": str(facts.reason)}
    return facts.problem(status) | {"error": error}


def google_error(facts: Facts, status: int) -> dict[str, object]:
    """Google's error object (google.rpc.Status as JSON, cloud.google.com/apis/design/errors) beside the problem."""
    kinds = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"}
    kind = "UNAVAILABLE" if status >= 500 else kinds.get(status, "PERMISSION_DENIED")
    error = {"code": status, "message": _advice(facts), "status": kind}
    return facts.problem(status) | {"error": error}


def _advice(facts: Facts) -> str:
    # Agents show this text and nothing else, so it carries what keeps them from trying around it.
    return f"{facts.message}; {facts.guidance} (audit id {facts.audit_id})"


SHAPES: dict[Dialect, Shape] = {
    Dialect.OCI: oci_errors,
    Dialect.ANTHROPIC: anthropic_error,
    Dialect.OPENAI: openai_error,
    Dialect.GOOGLE: google_error,
}
