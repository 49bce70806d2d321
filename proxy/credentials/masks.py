"""Masks: what the answers of a host are masked for. A host keeps what it was sent, whoever sent it and when.

So it is every secret that any policy in force binds to the host, and those that were in force before, for a while.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxy import limits
from proxy.credentials.scrub import Mask, is_same
from proxy.credentials.secret import Secret
from proxy.credentials.sources import Readings, Source, parse_source
from proxy.policy.credential import CredentialSpec
from proxy.policy.host import Host

_MAX_HOSTS = 1024  # whose secrets are remembered without another look at the policies
_MAX_COMPILED = 64  # sets of secrets whose mask is kept


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A secret that was in force until now, or was sent under a policy that no longer is. `until` as of the clock."""

    spec: CredentialSpec
    secret: Secret
    until: float


class Masks:
    """The masks of all hosts, of the credentials of all policies that are served. `clock` counts seconds."""

    def __init__(
        self, specs: Iterable[CredentialSpec], readings: Readings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._specs = tuple({(spec.source, spec.hosts): spec for spec in specs}.values())
        self._readings = readings
        self._clock = clock
        self._earlier: tuple[_Earlier, ...] = ()
        self._bound: dict[Host, tuple[Source, ...]] = {}
        self._compiled: dict[tuple[int, ...], tuple[tuple[Secret, ...], Mask]] = {}
        readings.replaced = self._replaced

    def of(self, host: Host) -> Mask | None:
        """The mask for what the host answers now; None where there is nothing to mask.

        The same one as long as the secrets are the same. One whose source went away is masked as it was read last.
        """
        found = [secret for source in self._sources(host) if (secret := self._readings.last(source)) is not None]
        # After the readings: these may add to the earlier ones.
        if self._earlier:
            now = self._clock()
            before = [each.secret for each in self._earlier if each.until > now and each.spec.bound_to(host)]
            found += before[-limits.MAX_EARLIER_SECRETS :]
        return self._mask(tuple(found))

    def note(self, spec: CredentialSpec, secret: Secret) -> None:
        """Note a secret that is about to be sent, though it may be of a policy that is no longer in force."""
        if secret is not self._readings.held(parse_source(spec.source)):
            self._remember(spec, secret, self._clock() + limits.EARLIER_TIME)

    def take_over(self, former: "Masks") -> None:
        """Remember what was in force before, and what that one remembered."""
        for each in former._earlier:
            self._remember(each.spec, each.secret, each.until)
        held = {(spec.source, spec.hosts) for spec in self._specs}
        for spec in former._specs:
            source = parse_source(spec.source)
            old, new = former._readings.held(source), self._readings.held(source)
            kept = (spec.source, spec.hosts) in held and old is not None and new is not None and is_same(old, new)
            if old is not None and not kept:
                self._remember(spec, old, self._clock() + limits.EARLIER_TIME)

    def _replaced(self, source: Source, secret: Secret) -> None:
        if (new := self._readings.held(source)) is not None and is_same(secret, new):
            return
        for spec in self._specs:
            if parse_source(spec.source) == source:
                self._remember(spec, secret, self._clock() + limits.EARLIER_TIME)

    def _remember(self, spec: CredentialSpec, secret: Secret, until: float) -> None:
        now = self._clock()
        others = [each for each in self._earlier if each.until > now]
        mine = [each for each in others if each.spec.hosts == spec.hosts and not is_same(each.secret, secret)]
        mine = [*mine, _Earlier(spec, secret, until)][-limits.MAX_EARLIER_SECRETS :]
        self._earlier = (*(each for each in others if each.spec.hosts != spec.hosts), *mine)

    def _sources(self, host: Host) -> tuple[Source, ...]:
        found = self._bound.get(host)
        if found is None:
            texts = dict.fromkeys(spec.source for spec in self._specs if spec.bound_to(host))
            found = tuple(map(parse_source, texts))
            if len(self._bound) >= _MAX_HOSTS:
                self._bound.clear()
            self._bound[host] = found
        return found

    def _mask(self, secrets: tuple[Secret, ...]) -> Mask | None:
        if not secrets:
            return None
        key = tuple(map(id, secrets))
        held = self._compiled.get(key)  # which holds the secrets, too: no other one gets these ids
        if held is None:
            if len(self._compiled) >= _MAX_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            held = self._compiled[key] = (secrets, Mask(secrets))
        return held[1]
