"""The facts of one refusal, made safe to print: the same in every body, header and error shape.

Owns the words; `dialect` owns the shapes. Nothing from a client or an upstream leaves this
module with a character outside visible ASCII and the space, or without a bound on its length.
"""

import re
from dataclasses import dataclass

from proxy.exchange import Exchange
from proxy.policy.host import INTERNAL
from proxy.policy.reason import WORDING, Reason, Wording

HOST_LIMIT = 253
PATH_LIMIT = 200
TEXT_LIMIT = 300

DELIBERATE = (
    "this is a deliberate policy decision, not an outage; retrying, other hosts, mirrors or tools will be refused too"
)
OUTAGE = (
    "this is an outage, not a policy decision; a later retry may succeed, other hosts, mirrors or tools will not help"
)
MALFORMED = "the request itself is wrong, whatever the policy; sending the same again will be refused again"
HELP = f"http://{INTERNAL}/ says what is allowed, and takes requests for access"
LIMIT = "this is a limit of the sandbox, not an outage; wait before the next request"

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
# What the engine found out here is about the operator's machine, and is in the audit log for the operator alone.
_OPERATOR_ONLY = frozenset(
    {
        Reason.ADDRESS_IS_PRIVATE,
        Reason.DENIED_BY_RULE,
        Reason.UPSTREAM_UNREACHABLE,
        Reason.CREDENTIAL_UNAVAILABLE,
        Reason.POLICY_ERROR,
        Reason.AUDIT_UNAVAILABLE,
    }
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


def visible(text: str, limit: int) -> str:
    """The text in visible ASCII and spaces, anything else as `?`, at most `limit` characters long."""
    clean = _UNPRINTABLE.sub("?", text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to say about a refused exchange. Every text is visible ASCII; empty or None where unknown.

    `policy` and `rule` stay None until the sandbox is identified. `repeated` is how often it was refused the same, 0 if
    that is not worth a word.
    """

    reason: Reason
    host: str | None
    method: str | None
    path: str | None
    rule: str | None
    policy: str | None
    detail: str
    hint: str
    audit_id: str
    repeated: int = 0

    @property
    def wording(self) -> Wording:
        return WORDING[self.reason]

    @property
    def sentence(self) -> str:
        """The short sentence of the status line: at most 100 characters, and nothing in it comes from the client."""
        return f"outgate: {self.wording.title} ({self.reason})"

    @property
    def message(self) -> str:
        """The one line that a client shows to its user: the short sentence, what to do, and where there is help."""
        return "; ".join(filter(None, (f"{self.sentence}: {self.hint}", self.help)))

    @property
    def help(self) -> str | None:
        """Where a sandbox finds out more; None where that would not help, or it is not known who asks."""
        return HELP if self.guidance is DELIBERATE and self.policy is not None else None

    @property
    def guidance(self) -> str:
        """What an agent should make of it."""
        if self.reason is Reason.LIMIT_EXCEEDED:
            return LIMIT
        if self.reason is Reason.MALFORMED_REQUEST:
            return MALFORMED
        return DELIBERATE if self.wording.deliberate else OUTAGE

    def problem(self, status: int) -> dict[str, object]:
        """The refusal as a problem object (RFC 9457); `status` is that of the response."""
        members = {
            "type": f"urn:outgate:reason:{self.reason}",
            "title": self.wording.title,
            "status": status,
            "reason": str(self.reason),
            "host": self.host,
            "method": self.method,
            "path": self.path,
            "rule": self.rule,
            "policy": self.policy,
            "detail": self.detail,
            "hint": self.hint,
            "guidance": self.guidance,
            "help": self.help,
            "audit_id": self.audit_id,
            "message": self.message,
        }
        return members | ({"repeated": self.repeated} if self.repeated else {})


def facts_of(exchange: Exchange, *, connect: bool) -> Facts:
    """The facts of a refused exchange. An allowed one that ends up here is a fault of ours, so a policy error."""
    decision = exchange.decision
    reason = Reason.POLICY_ERROR if decision.reason is Reason.ALLOWED else decision.reason
    known = reason is not Reason.UNAUTHENTICATED
    rule = decision.rule or decision.nearest
    return Facts(
        reason=reason,
        host=visible(exchange.host.name, HOST_LIMIT) if exchange.host else None,
        method="CONNECT" if connect else visible(exchange.method, 32) or None,
        path=None if connect else visible(exchange.path, PATH_LIMIT) or None,
        rule=visible(rule, TEXT_LIMIT) if rule and known else None,
        policy=(visible(exchange.policy.name, TEXT_LIMIT) or None) if known else None,
        detail=_detail(exchange, reason, connect),
        hint=_plainly(_hint(exchange, reason), exchange.repeated),
        audit_id=visible(exchange.id, 64),
        repeated=exchange.repeated,
    )


def _plainly(hint: str, repeated: int) -> str:
    """The hint; before it what a client should hear that tries the same again and again."""
    if not repeated:
        return hint
    return (
        f"stop trying: this was refused {repeated} times now, and will not change by itself; go on without it; {hint}"
    )


def _detail(exchange: Exchange, reason: Reason, connect: bool) -> str:
    fate = "sent, but its answer cannot be passed on" if exchange.sent else _fate(reason)
    what = f"{_request(exchange, connect)} was {fate}"
    if not exchange.detail or reason in _OPERATOR_ONLY:
        return what
    return f"{what}: {visible(exchange.detail, TEXT_LIMIT)}"


def _fate(reason: Reason) -> str:
    if reason is Reason.LIMIT_EXCEEDED:
        return "stopped by a limit"
    if WORDING[reason].deliberate:
        return "refused by the egress policy before anything was sent"
    return "not carried out"


def _request(exchange: Exchange, connect: bool) -> str:
    """The request line as the client would write it: `GET https://host/path`, `CONNECT host:443`; no query."""
    method = "CONNECT" if connect else visible(exchange.method, 32)
    if exchange.host is None:
        return f"the {method} request" if method else "the request"
    host = visible(exchange.host.url_form, HOST_LIMIT + 2)
    if connect or exchange.tunnel:
        return f"{method or 'CONNECT'} {host}:{exchange.port}"
    port = "" if exchange.port == _DEFAULT_PORTS.get(exchange.scheme) else f":{exchange.port}"
    return f"{method} {visible(exchange.scheme, 8)}://{host}{port}{visible(exchange.path, PATH_LIMIT)}"


def _hint(exchange: Exchange, reason: Reason) -> str:
    """The hint of the reason with this request's names in it, readable also where a name is not known."""
    template = WORDING[reason].hint.replace("the policy {policy}", "{policy}")
    nearest = exchange.decision.nearest or exchange.decision.rule
    if nearest is None:
        template = template.replace("the rule {rule}", "a rule for {host}")
    host = exchange.host
    return template.format(
        host=visible(host.name, HOST_LIMIT) if host else "the host",
        port=exchange.port,
        method=visible(exchange.method, 32) or "the method",
        path=visible(exchange.path, PATH_LIMIT),
        scheme=visible(exchange.scheme, 8),
        policy=_place(exchange),
        rule=visible(nearest or "", TEXT_LIMIT),
    )


def _place(exchange: Exchange) -> str:
    """Where the policy can be changed: its file, without the host's folders, or else its name."""
    name = exchange.policy.source.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if name:
        return f"policies/{visible(name, TEXT_LIMIT)}"
    return f"the policy {visible(exchange.policy.name, TEXT_LIMIT)}"
