"""What a case is: a threat, the probe that tries it, and what may be seen of it outside the proxy. Data only."""

from dataclasses import dataclass, field

# Placeholders in probes; `subjects.py` says what each subject has for them.
PROXY = "{proxy}"  # host:port of the proxy itself
TOKEN = "{token}"  # the value of Proxy-Authorization of the case's own sandbox
GOOD_FAKE = "{fake:GOOD}"  # what the sandbox holds in place of the secret for good.example
OTHER_FAKE = "{fake:OTHER}"  # the same for other.example
OTHER_TOKEN = "{token:neighbour}"  # the value of Proxy-Authorization of another sandbox
OTHER_TOKEN_FAKE = "{fake:GOOD:neighbour}"


@dataclass(frozen=True, slots=True)
class Connect:
    """Ask for a tunnel. `head` replaces the whole head where the target is not all that is special."""

    target: str
    head: str = ""
    headers: str = ""


@dataclass(frozen=True, slots=True)
class Tls:
    """Start TLS with this server name (None: without one), accepting any certificate."""

    name: str | None
    alpn: tuple[str, ...] = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes; text stands for its UTF-8. `times` repeats them, `times` in one write each."""

    data: str | bytes
    times: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """Read one answer to a request with this method."""

    method: str = "GET"


@dataclass(frozen=True, slots=True)
class ReadRaw:
    """Read whatever comes first, HTTP or not."""


@dataclass(frozen=True, slots=True)
class Record:
    """Read one TLS record, and think nothing of it."""


@dataclass(frozen=True, slots=True)
class H2:
    """One HTTP/2 request, its fields unchecked, and its answer. Needs `Tls` with h2 before it."""

    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Anew:
    """Leave the connection and open another one to the proxy."""


@dataclass(frozen=True, slots=True)
class Become:
    """The operator writes another policy: `whole` (as at the start), `revoked` (without good.example), `keyless`
    (without a credential for it) or `broken`.
    """

    policy: str


type Step = Connect | Tls | Send | Read | ReadRaw | Record | H2 | Anew | Become


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that has to arrive exactly so, at the address of `host`.

    `secret`: with the credential that the operator bound to the host, in Authorization, and no other value there.
    `without`: names of header fields that must not arrive. `exactly`: fields that arrive with these
    values alone. `body`: the body, if it matters.
    """

    host: str
    target: str = "/"
    method: str = "GET"
    secret: bool = False
    without: tuple[str, ...] = ()
    body: bytes | None = None
    plain: bool = False
    exactly: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Expect:
    """What has to be seen; the zero value is that nothing happens outside and the client is refused or cut off.

    `client`: `refused` (an error status of the proxy, or the end of the connection), `answered` (by the upstream) or
    `either`. `possible` are requests that may arrive, and need not. `asked` and `dialled`: names and `address:port`
    that may be looked up and dialled beside those of the requests. `unsaid`: texts that the client may not get;
    `unwritten`: texts that may not stand in logs and records; `said`: text that the client must get. `dials`: how often
    upstreams are dialled, if it matters.
    """

    client: str = "refused"
    requests: tuple[Wanted, ...] = ()
    possible: tuple[Wanted, ...] = ()
    asked: tuple[str, ...] = ()
    dialled: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    said: str = ""
    dials: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """`id` is unique; `origins` are the lines of `origins.py` that it comes from.

    `kept` says why the case stays although the naive proxy passes it. `known` is a fault of Outgate that is not mended.
    """

    id: str
    threat: str
    probe: tuple[Step, ...]
    origins: tuple[str, ...]
    expect: Expect = field(default_factory=Expect)
    setup: str = "main"
    kept: str = ""
    known: str = ""


def request(host: str, target: str = "/", *, method: str = "GET", more: str = "", body: str = "") -> str:
    """A well-formed request; `more` are further header lines, each with its CRLF."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}{more}\r\n{body}"


def inside(host: str, *data: str | bytes, method: str = "GET") -> tuple[Step, ...]:
    """Each of `data` sent, and answered, in one intercepted tunnel to port 443 of the host."""
    talk: list[Step] = []
    for each in data:
        talk += [Send(each), Read(method)]
    return (Connect(f"{host}:443"), Tls(host), *talk)


def plainly(*data: str | bytes, method: str = "GET") -> tuple[Step, ...]:
    """Each of `data` sent to the proxy itself, and answered."""
    return tuple(step for each in data for step in (Send(each), Read(method)))
