"""As much of HTTP/2 (RFC 9113) as load needs: frames, with header blocks that leave the peer's table alone."""

from collections.abc import Iterator, Sequence

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WIDE = 1 << 30  # windows that no answer of ours fills


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def block(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A header block of literals without indexing (RFC 7541, 6.2.2), the same bytes each time."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def greeting() -> bytes:
    """The first frames of either side: settings, and a window for the connection."""
    initial = (4).to_bytes(2) + _WIDE.to_bytes(4)
    return frame(SETTINGS, 0, 0, initial) + frame(WINDOW, 0, 0, _WIDE.to_bytes(4))


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes, int]]:
    """Whole frames of `data` as kind, flags, stream, payload, and where the next one begins."""
    place = 0
    while len(data) - place >= 9:
        size = int.from_bytes(data[place : place + 3])
        end = place + 9 + size
        if len(data) < end:
            return
        stream = int.from_bytes(data[place + 5 : place + 9]) & 0x7FFFFFFF
        yield data[place + 3], data[place + 4], stream, data[place + 9 : end], end
        place = end


def reply(kind: int, flags: int, payload: bytes) -> bytes:
    """What a frame about the connection is owed."""
    if kind in {SETTINGS, PING} and not flags & ACK:
        return frame(kind, ACK, 0, payload if kind == PING else b"")
    return b""


def _text(value: bytes) -> bytes:
    size = len(value)
    if size < 127:
        return bytes((size,)) + value
    rest, digits = size - 127, bytearray(b"\x7f")
    while rest >= 128:
        digits.append(rest % 128 + 128)
        rest //= 128
    return bytes(digits) + bytes((rest,)) + value
