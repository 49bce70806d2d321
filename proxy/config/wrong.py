"""How a reader of one value says what is wrong with it."""


class Wrong(ValueError):
    """A value that the policy language does not allow: what is wrong, and the right form."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
