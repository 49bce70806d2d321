"""Chunks are read as h11's own reader reads them, whatever they are and however they come."""

import time
from collections.abc import Iterable
from itertools import pairwise

import h11
import pytest
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.fastlane.chunks import Chunks

BROKEN = "broken"
# What chunked bodies are made of, and what looks like it.
PARTS = [
    *(
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"3\r\nabc\r\n",
        b"a\r\n0123456789\r\n",
        b"A;ext=1\r\n0123456789\r\n",
        b"2 \t\r\nxy\r\n",
    ),
    *(b"0\r\n", b"00\r\n", b"0;x\r\nT: v\r\n\r\n", b"0 \r\nT : v\r\n\r\n", b"T: v\r\n", b"\r\n", b"\n", b"\r", b"\n\n"),
    *(b"1", b"f", b"x", b";", b" ", b"\t", b"+1\r\n", b"-1\r\n", b"0x1\r\n", b"1_0\r\n", b" 1\r\nx\r\n", b"1\nx\n"),
    *(
        b"1;\r\nx\r\n",
        b"1;a\rb\r\nx\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1 ;a\r\nx\r\n",
        b"1\r\r\nx\r\n",
        b"1\r\nxy\r\n",
        b"\xff",
    ),
    *(
        b"0" * 19 + b"1\r\nx\r\n",
        b"0" * 20 + b"1\r\nx\r\n",
        b"f" * 20 + b"\r\n",
        b"10\r\n\r\n1\r\nx\r\n0\r\n\r\n...\r\n",
    ),
]


def outcome(reader: ChunkedReader | Chunks, pieces: Iterable[bytes]) -> tuple[list[bytes], bool | str, bytes]:
    """What a body is read as: its data after each piece, how it ended, and what is left behind it."""
    buffer, data, so_far = ReceiveBuffer(), [], b""
    for piece in pieces:
        buffer += piece
        try:
            while (event := reader(buffer)) is not None:
                if isinstance(event, h11.EndOfMessage):
                    return [*data, so_far], True, bytes(buffer)
                assert event.data, "a piece of nothing would end the body"
                so_far += event.data
        except h11.ProtocolError:
            return [*data, so_far], BROKEN, b""
        data.append(so_far)
    return data, False, bytes(buffer)


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in pairwise(at)]


@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=12), st.lists(st.integers(0, 400), max_size=6))
@example([b"1\r\nx\r\n"] * 50 + [b"0\r\n\r\nGET /"], [7, 8, 9, 10, 11, 12])
@example([b"5\r\nabcdeXX", b"1\r\nx\r\n"], [])
def test_a_body_is_what_h11_reads(parts: list[bytes], places: list[int]) -> None:
    stream = b"".join(parts)
    for pieces in (cut(stream, places), [bytes([byte]) for byte in stream]):
        assert outcome(Chunks(), pieces) == outcome(ChunkedReader(), pieces)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("before", [b"", b"1\r\nx\r\n"])
def test_each_part_is_what_h11_reads(part: bytes, before: bytes) -> None:
    stream = before + part + b"1\r\nx\r\n0\r\n\r\n"
    assert outcome(Chunks(), [stream]) == outcome(ChunkedReader(), [stream])


@pytest.mark.parametrize(
    "stream",
    [
        b"1\r\nx\r\n" * 10_000,
        b"1;" + b" " * 60_000 + b"\n\r\n",
        b"1" + b" " * 60_000 + b"\n\r\n",
        b"1;" + b"\r" * 60_000,
    ],
    ids=["tiny chunks", "an extension with a line feed", "blanks with a line feed", "an extension without end"],
)
def test_no_read_takes_long(stream: bytes) -> None:
    """h11's reader takes tenths of a second for the first, and seconds for the second."""
    before = time.process_time()
    outcome(Chunks(), [stream])
    assert time.process_time() - before < 1.0
