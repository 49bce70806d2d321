"""Ready answers for `Upstream.on`: each is a few lines, so a test can read what the upstream does."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.support.record import Received
from tests.support.upstream import Answer, Gate
from tests.support.wire import Wire

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
type Parts = Sequence[bytes | Gate]


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A whole answer with a Content-Length, after the request's body was read."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(status, {"Content-Length": str(len(body))} | dict(headers or {}))
        if request.method != "HEAD":
            await wire.send(body)

    return answer


async def echo(request: Received, wire: Wire) -> None:
    """Answer with the request as it arrived: method, target, headers and the body's length and SHA-256, in JSON."""
    body = await wire.body(request)
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    await reply(200, json.dumps(seen).encode(), {"Content-Type": "application/json"})(request, wire)


def chunked(
    parts: Parts,
    headers: Mapping[str, str] | None = None,
    trailers: Iterable[tuple[str, str]] = (),
    *,
    whole: bool = True,
) -> Answer:
    """A chunked answer; a `Gate` among the parts is a pause. Without `whole` the end is missing."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(200, {"Transfer-Encoding": "chunked"} | dict(headers or {}))
        for part in parts:
            await (part.wait() if isinstance(part, Gate) else wire.chunk(part))
        if not whole:
            wire.close()
            return
        ends = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        await wire.send(f"0\r\n{ends}\r\n".encode("latin-1"))

    return answer


def sse(parts: Sequence[str | Gate]) -> Answer:
    """Server-sent events, one `data:` event for each text."""
    events = [part if isinstance(part, Gate) else f"data: {part}\n\n".encode() for part in parts]
    return chunked(events, {"Content-Type": "text/event-stream"})


def huge(size: int, block: bytes = b"x" * 65536) -> Answer:
    """A body of `size` bytes with a Content-Length, sent block by block."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(200, {"Content-Length": str(size)})
        left = size
        while left:
            part = block[:left]
            left -= len(part)
            await wire.send(part)

    return answer


def cut(body: bytes, announced: int, *, reset: bool = False) -> Answer:
    """Announce `announced` bytes, send fewer, and close; with `reset` not even properly."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(200, {"Content-Length": str(announced)})
        await wire.send(body)
        (wire.abort if reset else wire.close)()

    return answer


def until_close(body: bytes) -> Answer:
    """A body that only the end of the connection ends, as HTTP/1.0 does it."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.head(200, {"Connection": "close"})
        await wire.send(body)
        wire.close()

    return answer


def early_hints(then: Answer) -> Answer:
    """A 103 (RFC 8297) before the answer."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.head(103, {"Link": "</style.css>; rel=preload"}, "Early Hints")
        await then(request, wire)

    return answer


def before_body(status: int, body: bytes) -> Answer:
    """Answer from the head alone and close, while the request's body may still be on its way."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.head(status, {"Content-Length": str(len(body)), "Connection": "close"})
        await wire.send(body)
        wire.close()

    return answer


def wait_for(gate: Gate, then: Answer) -> Answer:
    """Hold the whole answer back until the test opens the gate."""

    async def answer(request: Received, wire: Wire) -> None:
        await gate.wait()
        await then(request, wire)

    return answer


def raw(data: bytes, *, close: bool = False) -> Answer:
    """Exactly these bytes, right or wrong, after the request's body."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.body(request)
        await wire.send(data)
        if close:
            wire.close()

    return answer


def raw_head(data: bytes) -> Answer:
    """Exactly these bytes, from the head alone; the body is read after them."""

    async def answer(request: Received, wire: Wire) -> None:
        await wire.send(data)
        await wire.body(request)

    return answer


async def silence(request: Received, wire: Wire) -> None:
    """Close without an answer."""
    await wire.body(request)
    wire.close()


async def websocket_echo(request: Received, wire: Wire) -> None:
    """Accept the upgrade and send every frame back, unmasked, until a close frame has gone both ways."""
    await _accept_websocket(request, wire)
    opcode = 0
    while opcode != 8:
        opcode, payload = await _read_frame(wire)
        await wire.send(frame(opcode, payload))
    wire.close()


def websocket(replies: Callable[[bytes], Iterable[bytes]]) -> Answer:
    """Accept the upgrade and answer each text message with the text messages that `replies` gives for it."""

    async def answer(request: Received, wire: Wire) -> None:
        await _accept_websocket(request, wire)
        opcode = 0
        while opcode != 8:
            opcode, payload = await _read_frame(wire)
            parts = replies(payload) if opcode == 1 else [payload]
            for part in parts:
                await wire.send(frame({9: 10}.get(opcode, opcode), part))
        wire.close()

    return answer


async def _accept_websocket(request: Received, wire: Wire) -> None:
    key = (request.header("sec-websocket-key") or "").encode()
    accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID).digest()).decode()  # noqa: S324
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    await wire.head(101, headers, "Switching Protocols")


async def _read_frame(wire: Wire) -> tuple[int, bytes]:
    first, second = await wire.reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await wire.reader.readexactly(2 if size == 126 else 8))
    mask = await wire.reader.readexactly(4)
    masked = await wire.reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))


def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """One final WebSocket frame (RFC 6455, section 5.2); a client's has a mask of four bytes."""
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        size = bytes([flag | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([flag | 126]) + len(payload).to_bytes(2)
    else:
        size = bytes([flag | 127]) + len(payload).to_bytes(8)
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if mask else payload
    return bytes([0x80 | opcode]) + size + mask + body
