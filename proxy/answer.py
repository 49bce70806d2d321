"""The response on its way back: which headers reach the client, and the filter that its body passes.

Pure, over bytes, for every engine. What the upstream could use against the sandbox or the proxy
is dropped, what it echoes of an injected secret is masked, and nothing is buffered.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator

from proxy.credentials.decode import Decoder, decoder_for
from proxy.credentials.scrub import Mask, Scrubber
from proxy.exchange import Exchange
from proxy.head import Headers
from proxy.metering.meter import Meter
from proxy.metering.services import recognise
from proxy.policy.spelling import folded_field, folded_names

# Hop-by-hop fields, and those that would send the client past the proxy (RFC 7838).
_DROPPED = folded_names(
    "connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info te trailer upgrade alt-svc"
)
# Intended for the client whatever `Connection` says (RFC 9110 section 7.6.1), as is everything that tells of the
# content: without its coding the client could not read it, nor could we.
_END_TO_END = folded_names(
    "accept-ranges age allow cache-control date digest etag expires last-modified link location pragma retry-after"
    " server set-cookie transfer-encoding vary www-authenticate"
)
_OF_CONTENT = "content_"
# RFC 9209: each proxy on the way adds its own; ours is that of our refusals alone.
_PROXY_STATUS = "proxy_status"
_ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Undecodable(ValueError):
    """The body is in a coding that cannot be searched for the injected secret."""


def returned(headers: Headers, mask: Mask | None, *, upgrade: bool) -> Headers:
    """The headers that the client gets: end-to-end ones, with the secret masked. An upgrade keeps its two."""
    folded = [(folded_field(key), key, value) for key, value in headers]
    named = _named([value for name, _, value in folded if name == "connection"])
    dropped = _DROPPED if named <= _DROPPED else _DROPPED | named
    if upgrade:
        dropped -= {"connection", "upgrade"}
    if mask is not None:
        dropped |= {"accept_ranges"}  # ranges are not asked for where a secret went in
    kept = tuple([(key, value) for name, key, value in folded if name not in dropped and not _is_ours(name, value)])
    mask = None if mask is None else mask.now()  # one for the whole head
    if mask is None or not mask.spans(b"\n".join([part for field in kept for part in field])):
        return kept
    return tuple((mask.apply(key), mask.apply(value)) for key, value in kept)


def _named(values: Iterable[bytes]) -> frozenset[str]:
    """The fields that `Connection` takes away."""
    names = {folded_field(token.strip()) for value in values for token in value.split(b",")}
    return frozenset(name for name in names - _END_TO_END if not name.startswith(_OF_CONTENT))


def _is_ours(name: str, value: bytes) -> bool:
    """Whether a field of an upstream says what Outgate alone may say of itself."""
    return name == _PROXY_STATUS and b"outgate" in value.lower()


def has_line_breaks(headers: Headers) -> bool:
    """Whether a value goes on in another line, or could end one (RFC 9112 section 5.2, RFC 9110 section 5.5).

    Such an answer is no answer: a secret that is broken over two lines is not found.
    """
    values = b"".join([value for _, value in headers])
    return b"\r" in values or b"\n" in values or b"\0" in values


def coding_of(headers: Headers) -> bytes:
    """The content coding of a response, in lower case; empty for none. Several are joined with commas."""
    values = [value.strip().lower() for key, value in headers if key.lower() == b"content-encoding"]
    return b",".join(value for value in values if value not in (b"", b"identity"))


def meter_of(exchange: Exchange, status: int, headers: Headers, mask: Mask | None) -> Meter | None:
    """What looks on while the answer passes, if the exchange is a call of a model. `headers` are the upstream's."""
    try:
        return _meter_of(exchange, status, headers, mask)
    except Exception:  # noqa: BLE001 - the answer passes, and its event says that a fault kept it from being metered
        return Meter.broken()


def _meter_of(exchange: Exchange, status: int, headers: Headers, mask: Mask | None) -> Meter | None:
    if exchange.host is None or not (exchange.method == "POST" or exchange.websocket):
        return None
    spec = None if exchange.credential is None else exchange.policy.credentials.get(exchange.credential)
    credential = None if spec is None else spec.provider
    call = recognise(
        exchange.host.name,
        exchange.port,
        exchange.path,
        credential=credential,
        websocket=exchange.websocket,
    )
    if call is None:
        return None
    content_type = next((value for key, value in headers if key.lower() == b"content-type"), b"")
    # Where a secret is masked, the body is decoded and masked before the meter sees it.
    coding = b"" if mask is not None else coding_of(headers)
    return Meter(call, status, content_type, coding, hide=bytes if mask is None else mask.apply)


def accepts(key: bytes, headers: Headers) -> bool:
    """Whether the headers of a 101 answer accept the WebSocket that `key` asked for (RFC 6455 section 4.1)."""
    fields = {name.lower(): value.strip() for name, value in headers}
    digest = hashlib.sha1(key.strip() + _ACCEPT_KEY, usedforsecurity=False).digest()
    return (
        fields.get(b"upgrade", b"").lower() == b"websocket"
        and fields.get(b"sec-websocket-accept") == base64.b64encode(digest)
        and b"sec-websocket-extensions" not in fields
    )


class BodyFilter:
    """What a response body passes, chunk by chunk: decoded if need be, masked, counted.

    `feed` and `flush` return pieces that are never empty. `count` is called with the size of each chunk that came in;
    `meter` looks at what leaves here: it never sees a secret that was found.
    `feed` raises `DecodeError` for a body that is not what its coding says: then it must be cut off.
    """

    def __init__(
        self, mask: Mask | None, coding: bytes, count: Callable[[int], None], meter: Meter | None = None
    ) -> None:
        self._scrubber = None if mask is None else Scrubber(mask)
        self._decoder: Decoder | None = None
        self._count = count
        self._meter = meter
        if mask is not None and coding:
            self._decoder = decoder_for(coding.decode("latin-1"))
            if self._decoder is None:
                raise Undecodable("the upstream answers in an unknown content coding")

    @property
    def decodes(self) -> bool:
        """Whether the body leaves without its content coding, and so with another length."""
        return self._decoder is not None

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        self._count(len(chunk))
        pieces = self._filtered(chunk)
        return pieces if self._meter is None else self._metered(self._meter, pieces)

    def _filtered(self, chunk: bytes) -> Iterable[bytes]:
        if self._scrubber is None:
            return [chunk] if chunk else []
        if self._decoder is None:
            return self._scrubber.feed(chunk)
        return self._decoded(self._scrubber, self._decoder, chunk)

    @staticmethod
    def _decoded(scrubber: Scrubber, decoder: Decoder, chunk: bytes) -> Iterator[bytes]:
        # Piece by piece: a compressed chunk can be a thousand times larger than it looks.
        for part in decoder.feed(chunk):
            yield from scrubber.feed(part)

    @staticmethod
    def _metered(meter: Meter, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            meter.feed(piece)
            yield piece

    def flush(self) -> list[bytes]:
        if self._decoder is not None:
            self._decoder.finish()
        pieces = [] if self._scrubber is None else self._scrubber.flush()
        if self._meter is not None:
            pieces = list(self._metered(self._meter, pieces))
            self._meter.end()
        return pieces
