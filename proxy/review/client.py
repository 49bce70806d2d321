"""The head that a client would send, judged as the gate judges it, without a sandbox's key or any secret.

A placeholder can be written as `{VARIABLE}`. One that was copied from a sandbox is known by its shape: of which
sandbox it is cannot be told without the key, so it is taken for the right one.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from proxy.credentials.inject import check_client, find_misplaced
from proxy.credentials.placeholder import placeholder
from proxy.credentials.providers import GENERIC_SHAPE, Shape, forms_of, provider_of
from proxy.errors import ConfigError
from proxy.head import BadHead, Head, Headers, is_websocket, read_head
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.decide import Decision
from proxy.policy.host import Authority, Host
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy
from proxy.review.asked import Verdict

_KEY = b"no sandbox has this key; it only makes fakes that can be told apart"
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*")
_OTHER_FORM = "a client that uses another form of the service gets the secret in that form"
_VARIABLE = re.compile(rb"\{([A-Z_][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on the whole head. `form` says where the credential goes, None where none is injected.

    `not_injected` says why a credential that is due is not sent, `detail` what in the head is refused.
    """

    verdict: Verdict
    form: Inject | None = None
    not_injected: str = ""
    detail: str = ""
    websocket: bool = False
    notes: tuple[str, ...] = ()


def parse_header(text: str) -> tuple[bytes, bytes]:
    """One header as a person writes it, `Name: value`. Raises `ConfigError`, which does not repeat the value."""
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ConfigError("not a header", "write the name, a colon and the value: 'X-Api-Key: {ANTHROPIC_API_KEY}'")
    try:
        return match[1].encode("ascii"), match[2].encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigError(f"the header {match[1]} holds a character outside Latin-1", "encode it") from None


def judge_head(policy: Policy, request: Request, verdict: Verdict, written: Headers) -> Judged:
    """Judge the head of a request on which the policy said `verdict`, as `Gate.request` does.

    Raises `ConfigError` for a `{VARIABLE}` that is no placeholder of the policy.
    """
    if verdict.tunnel:
        return Judged(verdict, notes=("a tunnel: headers are not seen",) if written else ())
    fakes = {name: placeholder(_KEY, "", policy.name, spec) for name, spec in policy.credentials.items()}
    notes: list[str] = []
    headers = tuple((name, _filled(value, policy, fakes, request.host, notes)) for name, value in written)
    head = _head(request, headers)
    try:
        read_head(head, tunnel=_tunnel(request), tls=request.scheme == "https")
    except BadHead as error:
        refused = Verdict(Decision(reason=error.reason))
        return Judged(refused, detail=str(error), notes=tuple(notes))
    judged = replace(_credentials(policy, request, verdict, headers, fakes), websocket=is_websocket(head))
    return replace(judged, notes=(*notes, *judged.notes))


def _credentials(
    policy: Policy, request: Request, verdict: Verdict, headers: Headers, fakes: Mapping[str, str]
) -> Judged:
    """As `Gate._check_credentials`, but for reading the secret."""
    if not verdict.allowed:
        return Judged(verdict)
    headers = tuple(field for field in headers if field[0].lower() != b"proxy-authorization")
    misplaced = find_misplaced(fakes, policy.credentials, headers, request.target, request.host)
    if misplaced is not None:
        detail = f"the placeholder of {misplaced}, which is not bound to {request.host.name}"
        return Judged(_refused(verdict, Reason.CREDENTIAL_WRONG_HOST), detail=detail)
    name = verdict.decision.credential
    if name is None:
        return Judged(verdict)
    spec = policy.credentials[name]
    if not spec.bound_to(request.host) or request.scheme != "https":
        return Judged(verdict, not_injected="it is not bound to this host")
    check = check_client(spec, fakes, headers, request.target, request.host)
    if check.reason is not None:
        return Judged(_refused(verdict, check.reason), detail=f"in {check.slot}")
    sent = any(fakes[name].encode() in value for _, value in headers)
    open_form = not sent and len(forms_of(spec, request.host)) > 1
    return Judged(verdict, check.form, notes=(_OTHER_FORM,) if open_form else ())


def _refused(verdict: Verdict, reason: Reason) -> Verdict:
    decision = verdict.decision
    return Verdict(Decision(reason=reason, rule=decision.rule, nearest=decision.nearest))


def _head(request: Request, headers: Headers) -> Head:
    place = Authority(request.host, request.port)
    if not any(name.lower() == b"host" for name, _ in headers):
        headers = ((b"Host", str(place).encode()), *headers)
    method, target = request.method.encode(), request.target.encode()
    if request.scheme == "https":
        return Head(method, target, b"HTTP/1.1", headers)
    return Head(method, target, b"HTTP/1.1", headers, b"http", str(place).encode())


def _tunnel(request: Request) -> Authority | None:
    return Authority(request.host, request.port) if request.scheme == "https" else None


def _filled(value: bytes, policy: Policy, fakes: Mapping[str, str], host: Host, notes: list[str]) -> bytes:
    """The value with our own fake in place of `{VARIABLE}`, and of what has a placeholder's shape."""
    variables = {spec.placeholder: name for name, spec in policy.credentials.items() if spec.placeholder}

    def by_variable(match: re.Match[bytes]) -> bytes:
        variable = match[1].decode()
        if variable not in variables:
            known = ", ".join(f"{{{name}}}" for name in sorted(variables)) or "the policy has none"
            raise ConfigError(f"no placeholder of the policy is named {variable}", f"known: {known}")
        return fakes[variables[variable]].encode()

    value = _VARIABLE.sub(by_variable, value)
    if value[:6].lower() == b"basic ":
        try:
            plain = base64.b64decode(value[6:].strip(), validate=True)
        except binascii.Error:
            return value
        filled = _by_shape(plain, policy, fakes, host, notes)
        return value if filled == plain else value[:6] + base64.b64encode(filled)
    return _by_shape(value, policy, fakes, host, notes)


def _by_shape(value: bytes, policy: Policy, fakes: Mapping[str, str], host: Host, notes: list[str]) -> bytes:
    for pattern, specs in _shapes(policy):
        ours = next((spec for spec in specs if spec.bound_to(host)), specs[0])
        for found in pattern.findall(value):
            if found.decode() not in fakes.values():
                notes.append(f"what looks like a placeholder is taken for that of {ours.name} in the right sandbox")
                value = value.replace(found, fakes[ours.name].encode())
    return value


def _shapes(policy: Policy) -> Iterator[tuple[re.Pattern[bytes], list[CredentialSpec]]]:
    found: dict[Shape, list[CredentialSpec]] = {}
    for spec in policy.credentials.values():
        provider = provider_of(spec)
        found.setdefault(provider.shape if provider else GENERIC_SHAPE, []).append(spec)
    for shape, specs in found.items():
        text = rf"(?<![0-9A-Za-z]){re.escape(shape.prefix)}[0-9A-Za-z]{{{shape.tail}}}(?![0-9A-Za-z])"
        yield re.compile(text.encode()), specs
