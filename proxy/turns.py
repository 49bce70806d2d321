"""How much of a peer is read at once: no more than can be handled without keeping the others waiting. For every engine.

Small frames, chunks and messages take as long in a small read as others in a large one.
"""

LONG = 0.01
"""Seconds that one read may take before its connection has to wait as long again."""

SHORT = LONG / 4
"""Seconds of reads, one right after the other, after which it is the others' turn. Of what takes less, more is read."""

_FIRST = 16 * 1024
_LEAST = 4 * 1024
MOST = 64 * 1024
"""Bytes of one peer that are handled at once, at most."""


class Portion:
    """How many bytes of one peer may be handled next: `size`.

    It begins with little, as a client that had its first read for long could leave and come again.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = _FIRST

    def took(self, seconds: float) -> None:
        """Note how long it took to handle what was read last."""
        if seconds > LONG:
            self.size = max(_LEAST, self.size // 4)
        elif seconds < SHORT:
            self.size = min(MOST, self.size * 2)
