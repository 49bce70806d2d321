"""One connection of the recording upstream: its own small HTTP/1.1 parser, and ways to send anything."""

import asyncio

from tests.support.record import Arrival, Received, Record


class Wire:
    """One connection as an answer sees it: send bytes, read the body that is still on its way, close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Record) -> None:
        self.reader, self.writer, self.record = reader, writer, record

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, headers: dict[str, str] | list[tuple[str, str]], reason: str = "Test") -> None:
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in pairs)]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def body(self, request: Received) -> bytes:
        """Read the rest of the request's body, as its framing says, and return all of it."""
        if not request.complete:
            await _read_body(self, request)
        return request.body

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        """End the connection without the goodbyes of TLS and TCP: a reset."""
        self.writer.transport.abort()


async def read_head(reader: asyncio.StreamReader, arrival: Arrival) -> Received | None:
    """The next request's head; None at the end of the connection. `ValueError` if it is no HTTP."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ValueError("the connection ended inside a head") from error
        return None
    lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, target, version = lines[0].split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return Received(arrival, method, target, version, headers, raw)


async def _read_body(wire: Wire, request: Received) -> None:
    if "chunked" in request.values("transfer-encoding"):
        while size := int((await wire.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await _keep(wire, request, size)
            await wire.reader.readexactly(2)
        while (line := (await wire.reader.readuntil(b"\r\n")).decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            request.trailers.append((name, value.strip()))
    else:
        await _keep(wire, request, int((request.values("content-length") or ["0"])[0]))
    wire.record.change(lambda: setattr(request, "complete", True))


async def _keep(wire: Wire, request: Received, size: int) -> None:
    while size:
        data = await wire.reader.read(min(size, 1 << 16))
        if not data:
            raise EOFError("the connection ended inside a body")
        size -= len(data)
        wire.record.grow(request.buffer, data)
