"""Decoding: content codings (RFC 9110 section 8.4.1) undone piece by piece, so that compressed bodies can be scrubbed.

Bounded whatever an upstream sends: at most a few MiB are in memory at once, made when they are asked for, and a bomb
is cut off.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

PIECE = 64 * 1024
"""The largest piece that a decoder yields, in bytes."""
MAX_RATIO = 100
"""The output in bytes that each byte of input allows."""
FREE_OUTPUT = 64 * 1024 * 1024
"""The output in bytes that is allowed beyond that. More is never saved up, whatever came before."""

# RFC 9659: a zstd stream in HTTP needs no window larger than 8 MiB.
_ZSTD_WINDOW = 8 * 1024 * 1024
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class DecodeError(ValueError):
    """The stream is broken, cut short, or followed by something else."""


class DecodeLimit(DecodeError):
    """The stream grows out of all proportion: 64 MiB further than to a hundred times what came in meanwhile."""


class _Codec(Protocol):
    # How much input to take at once. Codecs copy what they did not use, so a large step would cost its square.
    step: int

    def decode(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def complete(self) -> bool: ...


class Decoder:
    """Undoes one content coding. Every failure is a `DecodeError`; after one the decoder is of no further use."""

    def __init__(self, name: str, codec: _Codec) -> None:
        self._name = name
        self._codec = codec
        self._begun = False
        self._allowed = FREE_OUTPUT

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of the next bytes, none empty or larger than 64 KiB.

        To be run to its end before the next call. Pieces made before a failure are yielded before it is raised.
        """
        try:
            for start in range(0, len(chunk), self._codec.step):
                data = chunk[start : start + self._codec.step]
                self._begun = True
                self._allowed += MAX_RATIO * len(data)
                for decoded in self._codec.decode(data):
                    yield from self._counted(decoded)
                self._allowed = min(self._allowed, FREE_OUTPUT)
        except (zlib.error, brotli.error, zstandard.ZstdError):
            # Without the library's words: they can quote what the upstream sent.
            raise DecodeError(f"the {self._name} stream is broken") from None

    def finish(self) -> None:
        """Say that the body has ended. Raises `DecodeError` for a stream that has not; no bytes at all are a stream."""
        if self._begun and not self._codec.complete:
            raise DecodeError(f"the {self._name} stream is cut short")

    def _counted(self, decoded: bytes) -> Iterator[bytes]:
        for start in range(0, len(decoded), PIECE):
            piece = decoded[start : start + PIECE]
            self._allowed -= len(piece)
            if self._allowed < 0:
                raise DecodeLimit(f"the {self._name} stream expands too far")
            yield piece


def decoder_for(coding: str) -> Decoder | None:
    """A decoder for one value of Content-Encoding, in any case; None if it is unknown or names several codings.

    `identity` and the empty string are no coding: the caller has nothing to undo, and gets None too.
    """
    name = coding.strip().lower()
    make = _CODECS.get(name)
    return None if make is None else Decoder(name, make())


class _Inflate:
    """gzip with any number of members (RFC 1952 section 2.2), or deflate."""

    step = 16 * 1024

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._stream = zlib.decompressobj(bits)

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._stream = self._next_member()
            piece = self._stream.decompress(data, PIECE)
            while piece:
                yield piece
                # The stream can owe output when all of its input is taken.
                piece = b"" if self._stream.eof else self._stream.decompress(self._stream.unconsumed_tail, PIECE)
            data = self._stream.unused_data

    def _next_member(self) -> "zlib._Decompress":
        if self._bits != _GZIP:
            raise DecodeError("the deflate stream is followed by something else")
        return zlib.decompressobj(self._bits)

    @property
    def complete(self) -> bool:
        return self._stream.eof


class _Deflate:
    """zlib's format (RFC 1950), or the raw one (RFC 1951) that some servers send under the same name."""

    step = _Inflate.step

    def __init__(self) -> None:
        self._start = b""
        self._inflate: _Inflate | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            # RFC 1950 section 2.2: method 8 in the low half of the first byte, and a checksum over both.
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._inflate = _Inflate(_ZLIB if wrapped else _RAW)
        yield from self._inflate.decode(data)

    @property
    def complete(self) -> bool:
        return self._inflate is not None and self._inflate.complete


class _Brotli:
    """RFC 7932."""

    step = 64 * 1024

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        piece = self._process(data)
        while piece:
            yield piece
            # `can_accept_more_data` is true while output is owed, so only an empty answer tells.
            piece = b"" if self._stream.is_finished() else self._process(b"")

    def _process(self, data: bytes) -> bytes:
        piece: bytes = self._stream.process(data, output_buffer_limit=PIECE // 2)
        return piece

    @property
    def complete(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    """RFC 8878, any number of frames."""

    step = 64 * 1024
    # The library returns all that its input decodes to, and a block of four bytes can stand for 128 KiB:
    # taken in portions of this size, one answer is bounded to about 2 MiB.
    _portion = 64

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame = self._context.decompressobj(write_size=PIECE)

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self._portion):
            left = data[start : start + self._portion]
            while left:
                if self._frame.eof:
                    self._frame = self._context.decompressobj(write_size=PIECE)
                if piece := self._frame.decompress(left):
                    yield piece
                left = self._frame.unused_data if self._frame.eof else b""

    @property
    def complete(self) -> bool:
        return self._frame.eof


_CODECS: dict[str, Callable[[], _Codec]] = {
    "gzip": lambda: _Inflate(_GZIP),
    "x-gzip": lambda: _Inflate(_GZIP),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
