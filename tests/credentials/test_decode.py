"""Compressed bodies are undone piece by piece; what is broken, cut short or a bomb is one kind of error."""

import contextlib
import gzip
import itertools
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.credentials.decode import FREE_OUTPUT, MAX_RATIO, PIECE, DecodeError, DecodeLimit, decoder_for

MIB = 1024 * 1024


def _raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("br", brotli.compress),
    ("zstd", _zstd),
]
EACH = pytest.mark.parametrize(("coding", "encode"), CODINGS)
TEXT = b"".join(b"line %d of a body that compresses a little\n" % (index * 7919 % 1000) for index in range(9000))


def decode(coding: str, data: bytes, size: int = 1000) -> bytes:
    decoder = decoder_for(coding)
    assert decoder is not None
    pieces: list[bytes] = []
    for start in range(0, len(data), size):
        pieces.extend(decoder.feed(data[start : start + size]))
    decoder.finish()
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


@EACH
@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_a_body_is_decoded_in_any_chunks(coding: str, encode: Callable[[bytes], bytes], size: int) -> None:
    for body in (b"", b"x", TEXT[:3000] if size == 1 else TEXT, bytes(300_000), random.Random(1).randbytes(200_000)):
        assert decode(coding, encode(body), size) == body


@settings(max_examples=60)
@given(
    st.sampled_from(CODINGS),
    st.lists(st.one_of(st.binary(max_size=50), st.integers(1, 70_000).map(bytes)), max_size=5).map(b"".join),
    st.integers(1, 5000),
)
def test_any_body_comes_back(kind: tuple[str, Callable[[bytes], bytes]], body: bytes, size: int) -> None:
    coding, encode = kind
    assert decode(coding, encode(body), size) == body


@pytest.mark.parametrize("coding", [" GZIP ", "Gzip", "X-Gzip"])
def test_the_name_is_compared_without_case(coding: str) -> None:
    assert decode(coding, gzip.compress(TEXT)) == TEXT


@pytest.mark.parametrize(
    "coding", ["", "identity", "compress", "gzip, br", "gzip,gzip", "lzma", "*", "aws-chunked", "gzip;q=1"]
)
def test_an_unknown_coding_has_no_decoder(coding: str) -> None:
    assert decoder_for(coding) is None


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("zstd", _zstd)])
@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_several_members_are_one_body(coding: str, encode: Callable[[bytes], bytes], size: int) -> None:
    parts = [b"first", b"", TEXT, bytes(200_000), b"last"]
    assert decode(coding, b"".join(map(encode, parts)), size) == b"".join(parts)


def test_a_skippable_zstd_frame_is_nothing() -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert decode("zstd", skippable + _zstd(b"body") + skippable) == b"body"


@EACH
def test_no_bytes_at_all_are_an_empty_body(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert decode(coding, b"") == b""


@EACH
def test_a_stream_cut_short_anywhere_is_an_error(coding: str, encode: Callable[[bytes], bytes]) -> None:
    whole = encode(TEXT[:5000])
    for end in {1, 2, 3, 5, 11, len(whole) // 2, len(whole) - 5, len(whole) - 1}:
        with pytest.raises(DecodeError):
            decode(coding, whole[:end])


@EACH
def test_what_could_be_decoded_comes_out_before_the_error(coding: str, encode: Callable[[bytes], bytes]) -> None:
    noise = random.Random(2).randbytes(400_000)
    decoder = decoder_for(coding)
    assert decoder is not None
    assert noise.startswith(first := b"".join(decoder.feed(encode(noise)[:300_000])))
    assert len(first) > 100_000
    with pytest.raises(DecodeError, match="cut short"):
        decoder.finish()


@EACH
@pytest.mark.parametrize("after", [b"\0\0", b"trailing garbage", TEXT, zlib.compress(b"another"), _raw_deflate(b"x")])
def test_bytes_after_the_end_are_an_error(coding: str, encode: Callable[[bytes], bytes], after: bytes) -> None:
    for size in (1, 1000, 10**9):
        with pytest.raises(DecodeError):
            decode(coding, encode(b"body") + after, size)


@EACH
@given(data=st.binary(max_size=200), flip=st.integers(0, 10**6))
def test_a_broken_stream_is_a_decode_error_or_bounded_output(
    coding: str, encode: Callable[[bytes], bytes], data: bytes, flip: int
) -> None:
    whole = bytearray(encode(TEXT[:2000]))
    whole[flip % len(whole)] ^= 1 + flip % 255
    for broken in (data, bytes(whole), bytes(whole) + data):
        with contextlib.suppress(DecodeError):
            decode(coding, broken)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_wrong_checksum_is_an_error(coding: str) -> None:
    encode = dict(CODINGS[:3] + CODINGS[5:])[coding]
    whole = bytearray(encode(b"some body"))
    whole[-1 if coding != "gzip" else -5] ^= 1
    with pytest.raises(DecodeError, match=f"the {coding} stream is broken"):
        decode(coding, bytes(whole))


def test_a_zstd_window_larger_than_http_allows_is_an_error() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DecodeError):
        decode("zstd", stream.compress(TEXT) + stream.flush())


def _zeros(coding: str, size: int) -> bytes:
    """`size` MiB of zeros as one stream, made without ever holding them."""
    block = bytes(MIB)
    if coding == "br":
        compressor = brotli.Compressor(quality=5)
        compressed: bytes = b"".join(compressor.process(block) for _ in range(size)) + compressor.finish()
        return compressed
    makers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(9, wbits=31),
        "deflate": lambda: zlib.compressobj(9),
        "zstd": lambda: zstandard.ZstdCompressor(level=3).compressobj(),
    }
    stream = makers[coding]()
    body: bytes = b"".join(stream.compress(block) for _ in range(size)) + stream.flush()
    return body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_cut_off_early_and_never_takes_much_memory(coding: str) -> None:
    bomb = _zeros(coding, 256)
    decoder = decoder_for(coding)
    assert decoder is not None
    sizes: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(DecodeLimit, match=f"the {coding} stream expands too far"):
            sizes.extend(map(len, decoder.feed(bomb)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(sizes) <= PIECE
    assert sum(sizes) <= FREE_OUTPUT + MAX_RATIO * len(bomb)
    assert peak < 8 * MIB


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_came_before_saves_up_nothing_for_a_bomb(coding: str) -> None:
    """Members may follow each other: first noise, which would allow a hundred times its size, then the bomb."""
    noise = random.Random(4).randbytes(8 * MIB)
    decoder = decoder_for(coding)
    assert decoder is not None
    assert sum(map(len, decoder.feed(dict(CODINGS)[coding](noise)))) == len(noise)
    bomb = _zeros(coding, 256)
    sizes: list[int] = []
    with pytest.raises(DecodeLimit):
        sizes.extend(map(len, decoder.feed(bomb)))
    assert sum(sizes) <= FREE_OUTPUT + MAX_RATIO * len(bomb)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_up_to_64_mib_a_body_may_expand_as_it_likes(coding: str) -> None:
    decoder = decoder_for(coding)
    assert decoder is not None
    assert sum(map(len, decoder.feed(_zeros(coding, 50)))) == 50 * MIB
    decoder.finish()


def test_a_large_body_that_expands_as_text_does_is_let_through() -> None:
    decoder = decoder_for("gzip")
    assert decoder is not None
    stream = zlib.compressobj(1, wbits=31)
    noise = random.Random(3).randbytes(2000)
    fed = (stream.compress(noise + bytes(60_000)) for _ in range(1500))
    total = 0
    for chunk in itertools.chain(fed, _last(stream)):
        total += sum(map(len, decoder.feed(chunk)))
    decoder.finish()
    assert total == 1500 * 62_000 > FREE_OUTPUT


def _last(stream: "zlib._Compress") -> Iterator[bytes]:
    yield stream.flush()


def test_a_chain_of_empty_members_is_taken_in_linear_time() -> None:
    """One call with 100,000 members: a copy of the rest for each of them would be 100 GB."""
    decoder = decoder_for("gzip")
    assert decoder is not None
    chain = gzip.compress(b"") * 100_000
    started = time.process_time()
    assert list(decoder.feed(chain)) == []
    assert time.process_time() - started < 1
    decoder.finish()
