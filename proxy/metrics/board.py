"""A page of memory that one process writes and others read: numbers as JSON, whole or not at all."""

import json
import mmap
import struct
import zlib
from typing import Any

SIZE = 128 * 1024
_HEAD = struct.Struct(">II")  # size and CRC-32 of what follows
_TRIES = 50


class Board:
    """Made before the processes that share it are forked. It outlives each of them."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)

    def put(self, values: dict[str, Any]) -> None:
        """Replace what stands there. More than there is room for is left out as a whole."""
        data = json.dumps(values, separators=(",", ":")).encode()
        if len(data) <= SIZE - _HEAD.size:
            self._memory[: _HEAD.size + len(data)] = _HEAD.pack(len(data), zlib.crc32(data)) + data

    def get(self) -> dict[str, Any]:
        """What stands there; empty if nothing does yet. It is read again while somebody writes."""
        for _ in range(_TRIES):
            size, checksum = _HEAD.unpack(self._memory[: _HEAD.size])
            data = self._memory[_HEAD.size : _HEAD.size + min(size, SIZE)]
            if size and zlib.crc32(data) == checksum:
                found: dict[str, Any] = json.loads(data)
                return found
            if not size:
                return {}
        return {}  # its writer died over it
