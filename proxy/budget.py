"""What a peer may do so often, and no more."""

import time


class Budget:
    """`size` in `seconds`, and what is earned beside; it is never more than `size`."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size, self._seconds = size, seconds
        self._left, self._since = size, time.monotonic()

    def earn(self, amount: int) -> None:
        """Allow more, for something that makes a peer need more."""
        self._left = min(self._size, self._left + amount)

    def spend(self) -> bool:
        """Whether there was one left."""
        if not self._left:
            # The clock is asked only now: most peers never come here.
            now = time.monotonic()
            if now - self._since < self._seconds:
                return False
            self._left, self._since = self._size, now
        self._left -= 1
        return True
