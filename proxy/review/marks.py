"""Marks: the risks of a difference that a reviewer looks for first."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from proxy.policy.rules import READ_METHODS
from proxy.review.addresses import Addresses
from proxy.review.boxes import Box
from proxy.review.delta import Delta, Kind
from proxy.review.diff import Found
from proxy.review.effect import Effect
from proxy.review.hosts import HostKind
from proxy.review.paths import PathClass


class Mark(StrEnum):
    """The value is what `--fail-on` takes."""

    NEW_HOST = "new_host"
    NEW_WRITE = "new_write"
    NEW_CREDENTIAL_REACH = "new_credential_reach"
    WILDCARD_WIDENED = "wildcard_widened"
    INSPECTION_OFF = "inspection_off"
    PRIVATE_ADDRESSES = "private_addresses"
    EXPIRY_REMOVED = "expiry_removed"
    OBSERVE_MODE = "observe_mode"
    DENY_REMOVED = "deny_removed"
    HTTP = "http"
    OWN_KEYS = "own_keys"
    TRACE_CONTEXT = "trace_context"


NAMES: Mapping[Mark, str] = {
    Mark.NEW_HOST: "new host",
    Mark.NEW_WRITE: "new write access",
    Mark.NEW_CREDENTIAL_REACH: "new credential reach",
    Mark.WILDCARD_WIDENED: "wildcard widened",
    Mark.INSPECTION_OFF: "inspection switched off",
    Mark.PRIVATE_ADDRESSES: "private addresses opened",
    Mark.EXPIRY_REMOVED: "expiry removed or moved back",
    Mark.OBSERVE_MODE: "passes only because the mode is observe",
    Mark.DENY_REMOVED: "deny removed",
    Mark.HTTP: "cleartext http",
    Mark.OWN_KEYS: "a key of the client's own is no longer refused or replaced",
    Mark.TRACE_CONTEXT: "trace headers of the client go upstream",
}

# What lets something happen that could not happen before, also where the request itself passed before.
WIDENING = frozenset(
    {
        Mark.NEW_CREDENTIAL_REACH,
        Mark.INSPECTION_OFF,
        Mark.PRIVATE_ADDRESSES,
        Mark.OWN_KEYS,
        Mark.TRACE_CONTEXT,
    }
)


def marks_of(found: Found, delta: Delta, box: Box, addresses: Addresses) -> tuple[Mark, ...]:
    """The marks of one difference, in their order."""
    marks = {*_of_delta(delta, addresses)}
    if delta.kind is Kind.ALLOWED:
        marks |= {*_of_box(found, box)}
    return tuple(mark for mark in Mark if mark in marks)


def _of_delta(delta: Delta, addresses: Addresses) -> Iterator[Mark]:
    old, new = delta.old, delta.new
    if old.denied and not new.denied:
        yield Mark.DENY_REMOVED
    if not new.passes:
        return
    yield from _of_effects(old, new)
    if (new.reach - old.reach) - addresses.public:
        yield Mark.PRIVATE_ADDRESSES
    if (delta.gained & addresses.public) and old.passes:
        yield Mark.DENY_REMOVED
    if delta.was_expired:
        yield Mark.EXPIRY_REMOVED


def _of_effects(old: Effect, new: Effect) -> Iterator[Mark]:
    """The marks of how a request passes that was refused, or passed otherwise."""
    if new.secret is not None and (old.secret is None or old.secret.source != new.secret.source):
        yield Mark.NEW_CREDENTIAL_REACH
    if old.secret is not None and new.secret is None:
        yield Mark.OWN_KEYS
    if new.tunnel and not old.tunnel:
        yield Mark.INSPECTION_OFF
    if new.trace_context and not old.trace_context and not old.tunnel:
        yield Mark.TRACE_CONTEXT
    if new.observed and not old.observed:
        yield Mark.OBSERVE_MODE


def _of_box(found: Found, box: Box) -> Iterator[Mark]:
    if not found.known:
        yield Mark.NEW_HOST
        if any(host.kind is HostKind.WILDCARD or host.kind is HostKind.ANY for host in found.group.hosts):
            yield Mark.WILDCARD_WIDENED
    elif any(_is_wild(path) for path in box.paths - found.old_paths):
        yield Mark.WILDCARD_WIDENED
    if not box.methods <= READ_METHODS:
        yield Mark.NEW_WRITE
    if any(endpoint.scheme == "http" for endpoint in box.endpoints):
        yield Mark.HTTP


def _is_wild(path: PathClass) -> bool:
    """Whether the class is more than one path that a rule names, in its spellings."""
    return all(pattern.rest or None in pattern.segments for pattern in path.exact | path.blind)
