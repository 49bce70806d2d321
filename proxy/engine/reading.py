"""A connection's reader that gives as much at once as its peer may have handled."""

import asyncio

from proxy.turns import Portion


class Portions:
    """Stands in for the reader that it was made with; `took` says how long the last read kept the others waiting."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader, self._portion = reader, Portion()
        self.took = self._portion.took

    async def read(self, size: int) -> bytes:
        return await self._reader.read(min(size, self._portion.size))

    def exception(self) -> BaseException | None:
        """Why the connection broke, if it did."""
        return self._reader.exception()
