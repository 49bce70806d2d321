"""How an allowed exchange comes by its upstream: what it may use again, what it may dial, what it may send to."""

from proxy import limits
from proxy.dial import DialError
from proxy.fastlane.lane import Lane
from proxy.fastlane.pool import Use
from proxy.fastlane.tls import Tls
from proxy.fastlane.upstream import Upstream, dial
from proxy.outbound import Outbound
from proxy.policy.reason import Reason
from proxy.session import Session


def use_of(session: Session, outbound: Outbound) -> Use:
    """What a connection of this exchange may be used again for."""
    request, exchange = outbound.request, outbound.exchange
    owner = exchange.sandbox if session.bound is None else session.bound.number
    return Use(owner, exchange.policy.digest, exchange.credential, request.scheme, request.host.name, request.port)


async def dialled(lane: Lane, session: Session, outbound: Outbound) -> Upstream:
    """Connect, with the leave that the gate gave; without one nothing is dialled. Raises `DialError`."""
    request = outbound.request
    grant = session.grants.get((request.host.name, request.port))
    if grant is None or session.barred is not None:
        raise DialError(Reason.POLICY_ERROR, "no decision allows this destination")
    share = lane.share(session.asker)
    if request.scheme == "http":
        return await dial(lane.dialer, grant, session.asker, lambda: Upstream(None, share))
    host, context, ticket = request.host, lane.upstream_context, lane.tickets.take(use_of(session, outbound))
    name = str(host.address) if host.address is not None else host.name

    def make() -> Upstream:
        return Upstream(Tls(context, server_side=False, name=name, ticket=ticket), share)

    return await dial(lane.dialer, grant, session.asker, make)


def give_back(lane: Lane, use: Use, upstream: Upstream, *, new: bool, whole: bool) -> None:
    """Let later exchanges have what they can use of a connection: it, if `whole`, and if it is `new` its session."""
    if new and upstream.tls is not None:
        lane.tickets.put(use, upstream.tls.ticket(limits.TICKET_TIME))
    if whole and upstream.answers.reusable and not upstream.holds:
        lane.pool.put(use, upstream)
    else:
        upstream.close()


def check(lane: Lane, outbound: Outbound, upstream: Upstream) -> None:
    """Raise `DialError` unless this very decision may use the connection."""
    lane.dialer.check(outbound.grant, None if upstream.closed else upstream.ip)
    if (outbound.request.scheme == "https" or outbound.form is not None) and not upstream.verified:
        raise DialError(Reason.UPSTREAM_UNVERIFIED, "a credential travels over verified TLS only")
