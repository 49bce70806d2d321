"""What a user can be told. Everything that stops a command is an `OutgateError`; `terminal` prints it."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `where` is `file:line:column` (or a file, or empty), `key` the path of the key in it."""

    message: str
    hint: str = ""
    where: str = ""
    key: str = ""


class OutgateError(Exception):
    """Something that the person at the terminal must mend. Carries one or more problems; never a secret value.

    `exit_code` is 2 (misuse or bad config) unless a subclass says otherwise.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "", where: str = "", *, more: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(message, hint, where), *more)

    @classmethod
    def of(cls, problems: tuple[Problem, ...]) -> Self:
        """An error that carries several problems, at least one."""
        error = cls(problems[0].message)
        error.problems = problems
        return error


class ConfigError(OutgateError):
    """A policy, a setting or a file that a policy names is wrong."""
