"""How much of a peer is read at once: no more than can be handled without keeping the others waiting."""

import asyncio

LONG = 0.01
"""Seconds that one read may take before its connection has to wait as long again."""

_FIRST = 16 * 1024
_LEAST = 4 * 1024
_MOST = 64 * 1024


class Portions:
    """A connection's reader. Small frames, chunks and messages take as long in a small read as others in a large one.

    It begins with little, as a client that had its first read for long could leave and come again.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader, self._size = reader, _FIRST

    async def read(self, size: int) -> bytes:
        return await self._reader.read(min(size, self._size))

    def exception(self) -> BaseException | None:
        """Why the connection broke, if it did."""
        return self._reader.exception()

    def took(self, seconds: float) -> None:
        """Note how long it took to handle what was read last."""
        if seconds > LONG:
            self._size = max(_LEAST, self._size // 4)
        elif seconds < LONG / 4:
            self._size = min(_MOST, self._size * 2)
