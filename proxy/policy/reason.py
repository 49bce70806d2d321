"""Reasons: the closed list of what Outgate can say about a request, and the words for it.

One table serves decisions, refusals, audit events and docs. Version 1 of the list is fixed by the policy contract.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a request was allowed or refused. The value is the code that files and logs carry."""

    ALLOWED = "allowed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    PORT_NOT_ALLOWED = "port_not_allowed"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PATH_NOT_ALLOWED = "path_not_allowed"
    QUERY_NOT_ALLOWED = "query_not_allowed"
    DENIED_BY_RULE = "denied_by_rule"
    RULE_EXPIRED = "rule_expired"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    ADDRESS_IS_PRIVATE = "address_is_private"
    AUTHORITY_MISMATCH = "authority_mismatch"
    PROTOCOL_NOT_ALLOWED = "protocol_not_allowed"
    MALFORMED_REQUEST = "malformed_request"
    AMBIGUOUS_PATH = "ambiguous_path"
    UNAUTHENTICATED = "unauthenticated"
    CREDENTIAL_UNAVAILABLE = "credential_unavailable"
    CREDENTIAL_WRONG_HOST = "credential_wrong_host"
    CLIENT_CREDENTIAL_REFUSED = "client_credential_refused"
    UPSTREAM_UNVERIFIED = "upstream_unverified"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    LIMIT_EXCEEDED = "limit_exceeded"
    POLICY_ERROR = "policy_error"
    AUDIT_UNAVAILABLE = "audit_unavailable"


@dataclass(frozen=True, slots=True)
class Wording:
    """The HTTP status, the sentence and the hint of one reason.

    `hint` may use `{host}`, `{port}`, `{method}`, `{path}`, `{scheme}`, `{policy}` and `{rule}` (the nearest one's id).
    `deliberate` is false where the refusal is an outage that may pass, so a retry can help.
    """

    status: int
    title: str
    hint: str
    deliberate: bool = True


_ASK = "if the task needs it, ask the person who runs this sandbox to "

WORDING: dict[Reason, Wording] = {
    Reason.ALLOWED: Wording(200, "allowed", ""),
    Reason.HOST_NOT_ALLOWED: Wording(
        403, "this sandbox's policy does not allow the host", _ASK + "add a rule for {host} to the policy {policy}"
    ),
    Reason.PORT_NOT_ALLOWED: Wording(
        403, "this sandbox's policy does not allow the port", _ASK + "add `ports: [{port}]` to a rule for {host}"
    ),
    Reason.SCHEME_NOT_ALLOWED: Wording(
        403,
        "this sandbox's policy does not allow the scheme",
        "use https; " + _ASK + "add `schemes: [http, https]` to the rule {rule}",
    ),
    Reason.METHOD_NOT_ALLOWED: Wording(
        403, "this sandbox's policy does not allow the method", _ASK + "add {method} to the rule {rule}"
    ),
    Reason.PATH_NOT_ALLOWED: Wording(
        403, "this sandbox's policy does not allow the path", _ASK + "add the path to the rule {rule}"
    ),
    Reason.QUERY_NOT_ALLOWED: Wording(
        403,
        "this sandbox's policy does not allow the query",
        "send each key that the rule {rule} names exactly once, with the value that it names",
    ),
    Reason.DENIED_BY_RULE: Wording(
        403, "a rule of this sandbox's policy denies the request", "no other rule can allow it; find another way"
    ),
    Reason.RULE_EXPIRED: Wording(
        403, "the rule that allowed the request has expired", _ASK + "renew the `expires` of the rule {rule}"
    ),
    Reason.ADDRESS_NOT_ALLOWED: Wording(
        403,
        "this sandbox's policy does not allow the IP address",
        "use the host name; " + _ASK + "add `addresses: [{host}]` to a rule",
    ),
    Reason.ADDRESS_IS_PRIVATE: Wording(
        403,
        "the host has a private or reserved address",
        _ASK + "open the address range with `addresses` on the rule for {host}",
    ),
    Reason.AUTHORITY_MISMATCH: Wording(
        403,
        "the request names another host than its connection",
        "open a new connection for each host, and send the same name as target, TLS server name and Host",
    ),
    Reason.PROTOCOL_NOT_ALLOWED: Wording(
        403, "this protocol cannot pass", "only HTTP over TLS is carried here, plain HTTP where a rule says so"
    ),
    Reason.MALFORMED_REQUEST: Wording(400, "the request is malformed", "send a request that follows RFC 9112"),
    Reason.AMBIGUOUS_PATH: Wording(
        403,
        "two servers could read this path differently",
        "send the path without dot segments, empty segments, `;`, backslashes and encoded separators",
    ),
    Reason.UNAUTHENTICATED: Wording(
        407,
        "this proxy needs a sandbox token",
        "use the proxy address that `outgate env` printed for this sandbox; tokens expire",
    ),
    Reason.CREDENTIAL_UNAVAILABLE: Wording(
        503, "the credential for the host cannot be read now", "the person who runs this sandbox must mend it", False
    ),
    Reason.CREDENTIAL_WRONG_HOST: Wording(
        403,
        "a placeholder was sent to a host its credential is not bound to",
        "send each placeholder only to the service that it belongs to",
    ),
    Reason.CLIENT_CREDENTIAL_REFUSED: Wording(
        403,
        "the request brings a credential of its own",
        "send the placeholder from this sandbox's environment, or no credential: the real one is added on the way",
    ),
    Reason.UPSTREAM_UNVERIFIED: Wording(
        502,
        "the certificate of the host did not verify",
        "the host, or the CA it uses, is not what it should be",
        False,
    ),
    Reason.UPSTREAM_UNREACHABLE: Wording(
        502, "the host cannot be reached", "the policy allows it, but it does not answer; try again later", False
    ),
    Reason.LIMIT_EXCEEDED: Wording(429, "a limit was exceeded", "send less at once, or ask for a higher limit"),
    Reason.POLICY_ERROR: Wording(
        503, "the policy could not be applied", "the person who runs this sandbox must mend it", False
    ),
    Reason.AUDIT_UNAVAILABLE: Wording(
        503,
        "the audit log cannot be written, so nothing may pass",
        "the person who runs this sandbox must mend it",
        False,
    ),
}
