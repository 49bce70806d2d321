"""An allowed request on its way: what the client brought of credentials, and the head that goes upstream."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.credentials.inject import check_client, find_misplaced, inject
from proxy.credentials.masks import Masks
from proxy.credentials.scrub import LiveMask, Mask
from proxy.credentials.sources import CredentialUnavailable, SecretStore
from proxy.dial import Grant
from proxy.exchange import Exchange
from proxy.head import Headers
from proxy.policy.credential import Inject
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.spelling import folded_field, folded_names
from proxy.session import Sandbox

# What would let an answer come in a form, or in parts, in which an echoed secret is not found. Beside the fields of RFC
# 9110 those of Azure, Apache ("Request-Range"), and RFC 3229.
_UNSEARCHABLE = folded_names("accept-encoding accept-charset range if-range request-range x-range x-ms-range a-im")


@dataclass(frozen=True, slots=True)
class Outbound:
    """An allowed request on its way: what the engine needs to forward it. Holds no secret.

    `form` says how to send the credential, as the client sent its fake; None where nothing is injected. `secrets` are
    those of the policy that decided, whatever is served by the time that the request is sent.
    """

    exchange: Exchange
    request: Request
    headers: Headers
    secrets: SecretStore
    form: Inject | None = None

    @property
    def grant(self) -> Grant:
        """Leave to dial, as this very decision gives it."""
        decision, policy = self.exchange.decision, self.exchange.policy
        return Grant(self.request.host, self.request.port, decision.networks, policy.denied_networks)


def upstream_head(outbound: Outbound, masks: Callable[[], Masks]) -> tuple[Headers, str, Mask | None]:
    """Headers and target for a verified upstream connection, and the mask for the answer.

    The only place where a secret enters a request. What a host was sent once it can hand back at any time, to anybody:
    each answer of a host is masked for every secret that was bound to it. `masks` are those in force, asked again while
    the answer runs. Raises `CredentialUnavailable`; then nothing may be sent.
    """
    exchange, form, store = outbound.exchange, outbound.form, outbound.secrets
    headers, target, host = outbound.headers, outbound.request.target, outbound.request.host
    spec = None if form is None or exchange.credential is None else exchange.policy.credentials[exchange.credential]
    secret = None if spec is None else store.get(spec.name)
    if spec is not None and secret is not None:
        masks().note(spec, secret)
    mask = None if masks().of(host) is None else LiveMask(lambda: masks().of(host))
    if mask is not None:
        headers = tuple([field for field in headers if folded_field(field[0]) not in _UNSEARCHABLE])
    if spec is not None and form is not None and secret is not None:
        headers, target = inject(spec, form, secret, headers, target)
        exchange.injected = True
    return headers if mask is None else (*headers, (b"Accept-Encoding", b"identity")), target, mask


def check_credentials(exchange: Exchange, sandbox: Sandbox, request: Request, headers: Headers) -> Inject | None:
    """Refuse placeholders on their way to a strange host and credentials that the client brought itself.

    The form in which the credential is to be sent, None where there is none to send.
    """
    specs, placeholders = sandbox.policy.credentials, sandbox.placeholders
    headers = tuple([field for field in headers if field[0].lower() != b"proxy-authorization"])
    if find_misplaced(placeholders, specs, headers, request.target, request.host) is not None:
        exchange.refuse(Reason.CREDENTIAL_WRONG_HOST)
        return None
    name = exchange.decision.credential
    if name is None:
        return None
    exchange.credential = name
    spec = specs[name]
    if not spec.bound_to(request.host) or request.scheme != "https":
        exchange.not_injected = "the credential is not bound to this host"
        return None
    check = check_client(spec, placeholders, headers, request.target, request.host)
    if check.reason is not None:
        exchange.refuse(check.reason, f"in {check.slot}")
        return None
    try:
        sandbox.secrets.get(name)
    except CredentialUnavailable as error:
        exchange.refuse(Reason.CREDENTIAL_UNAVAILABLE, str(error))
        exchange.not_injected = "the credential cannot be read"
    return check.form
