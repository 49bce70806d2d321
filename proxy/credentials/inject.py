"""Injection: is the client's own head clean, does a fake go to the wrong host, and the head with the secret in it.

Pure. What `inject` returns is for the upstream's bytes alone and never goes back into an exchange.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from proxy.credentials.placeholder import MARK
from proxy.credentials.providers import forms_of
from proxy.credentials.secret import Secret
from proxy.credentials.slots import Content, Headers, clear_slots, loose_base64, read_slots, slots_of
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.spelling import folded_name

_MARK = MARK.encode()


@dataclass(frozen=True, slots=True)
class ClientCheck:
    """What a client brought to a request that gets a credential.

    `form` is how to send the secret: as the client sent its fake, where the provider takes several forms. `reason` is
    set where the request is refused, and `slot` then names the place that holds a foreign credential.
    """

    form: Inject
    reason: Reason | None = None
    slot: str = ""


def check_client(
    spec: CredentialSpec, placeholders: Mapping[str, str], headers: Headers, target: str, host: Host
) -> ClientCheck:
    """Check the slots of a request that will get `spec` injected. Raises `ConfigError` for a spec that is not whole.

    Each slot must be empty or hold one of the sandbox's `placeholders` (by credential name) or the word `outgate`.
    """
    fakes = frozenset({_MARK, *(fake.encode() for fake in placeholders.values())})
    found = [slot for slot in read_slots(slots_of(spec), headers, target, fakes) if slot.content is not Content.EMPTY]
    forms = forms_of(spec, host)
    used = {(slot.header, slot.scheme) for slot in found}
    form = next((form for form in forms if _standing(form) in used), forms[0])
    if not spec.replace_client_credentials:
        for slot in found:
            if slot.content is Content.FOREIGN:
                return ClientCheck(form, Reason.CLIENT_CREDENTIAL_REFUSED, slot.slot)
    return ClientCheck(form)


def find_misplaced(
    placeholders: Mapping[str, str],
    specs: Mapping[str, CredentialSpec],
    headers: Headers,
    target: str,
    host: Host,
) -> str | None:
    """The name of a credential whose placeholder is in the head though it is not bound to this host, or None.

    Seen plain, percent-encoded and inside Basic. A placeholder without a spec counts as bound nowhere.
    """
    if not placeholders:
        return None
    text = b"\n".join(_marked_texts(headers, target))  # no fake holds a line break, so none stands in two of them
    for name, fake in placeholders.items() if text else ():
        if fake.encode() in text:
            spec = specs.get(name)
            if spec is None or not spec.bound_to(host):
                return name
    return None


def inject(spec: CredentialSpec, form: Inject, secret: Secret, headers: Headers, target: str) -> tuple[Headers, str]:
    """The head with every slot (and cookies) cleared and the secret set in exactly one, as `form` says.

    The caller has checked that the host is bound, the connection encrypted and its certificate verified.
    Raises `ValueError` for a form that names no place, or a query for a target that has no path.
    """
    kept, target = clear_slots(slots_of(spec), headers, target)
    if form.query is not None:
        return tuple(kept), _with_pair(target, form.query, secret)
    kept.append(_header(form, secret))
    return tuple(kept), target


def _with_pair(target: str, key: str, secret: Secret) -> str:
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        raise ValueError("only a path can carry a query")
    pair = f"{quote(key, safe='')}={quote(secret.reveal().decode('ascii'), safe='')}"
    return f"{path}?{query}&{pair}" if query else f"{path}?{pair}"


def _header(form: Inject, secret: Secret) -> tuple[bytes, bytes]:
    if form.bearer:
        return b"authorization", b"Bearer " + secret.reveal()
    if form.basic is not None:
        return b"authorization", b"Basic " + base64.b64encode(form.basic.encode() + b":" + secret.reveal())
    if form.header is None:
        raise ValueError("the form names no place for the secret")
    # Never str.format: a format is text from a policy file, not a template language.
    prefix, place, suffix = form.format.partition("{secret}")
    if not place:
        raise ValueError("the format has no {secret}")
    return form.header.lower().encode(), prefix.encode() + secret.reveal() + suffix.encode()


def _standing(form: Inject) -> tuple[str, bytes]:
    """The header and scheme in which the form stands, as `read_slots` names them."""
    if form.bearer:
        return "authorization", b"bearer"
    if form.basic is not None:
        return "authorization", b"basic"
    scheme = form.format.partition("{secret}")[0].strip().lower()
    return folded_name(form.header or ""), scheme.encode()


def _marked_texts(headers: Headers, target: str) -> Iterator[bytes]:
    """The parts of the head that hold the word that every placeholder holds, decoded where they are encoded."""
    values = [target.encode(errors="replace"), *[value for _, value in headers]]
    # Most heads hold none of the three, and one look at all values tells. No value holds a line break.
    whole = b"\n".join(values)
    if _MARK in whole:
        yield whole
    if b"%" in whole and _MARK in (decoded := unquote_to_bytes(whole)):
        yield decoded
    if b"basic" in whole.lower():
        for value in values:
            if value[:6].lower() in (b"basic ", b"basic\t") and _MARK in (decoded := loose_base64(value[6:])):
                yield decoded
