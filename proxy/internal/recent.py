"""A table that one client alone cannot make others fall out of, as long as there are fewer keys than it holds."""

from collections import OrderedDict
from collections.abc import Callable


class Recent[K, V]:
    """At most `most` values by key. A new key displaces the one that was not asked for longest."""

    def __init__(self, most: int, make: Callable[[], V]) -> None:
        self._most, self._make = most, make
        self._values: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        value = self._values.pop(key, None)
        if value is None:
            value = self._make()
            if len(self._values) >= self._most:
                self._values.popitem(last=False)
        self._values[key] = value
        return value

    def __len__(self) -> int:
        return len(self._values)
