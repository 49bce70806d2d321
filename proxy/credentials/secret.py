"""Secret: a value that can be carried about without being shown.

Only `inject` and `scrub` call `reveal`; a test holds the tree to that.
"""

import re
from typing import Never, final

from proxy.errors import ConfigError

MIN_LENGTH = 8

_VISIBLE = re.compile(rb"[\x21-\x7e]+")


@final
class Secret:
    """One secret value: visible ASCII, at least `MIN_LENGTH` bytes, trailing white space stripped.

    Raises `ConfigError`, which never shows the value, for anything else. It cannot be printed,
    compared, hashed, copied or pickled.
    """

    __slots__ = ("__value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, raw: bytes) -> None:
        value = raw.rstrip(b" \t\r\n")
        if not value:
            raise ConfigError("the value is empty", "put the secret into its source")
        if not _VISIBLE.fullmatch(value):
            raise ConfigError(
                "the value holds white space, control or non-ASCII characters",
                "a secret is one line of visible ASCII, so that it can stand in a header",
            )
        if len(value) < MIN_LENGTH:
            raise ConfigError(
                f"the value is shorter than {MIN_LENGTH} characters",
                "a shorter one cannot be masked in responses without masking ordinary text",
            )
        self.__value = value

    def reveal(self) -> bytes:
        """The value itself, for the bytes on the upstream connection and the masking of what comes back."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return repr(self)

    def __eq__(self, _: object) -> Never:
        # An answer of yes or no about a secret is an oracle, and a comparison with text is a mistake.
        raise TypeError("secrets are not compared")

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("secrets are not copied or pickled")
