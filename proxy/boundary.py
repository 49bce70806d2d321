"""What keeps a client in, as far as it is known."""

from enum import StrEnum


class Boundary(StrEnum):
    """What keeps the client of a socket that a launcher handed over from going around it."""

    NAMESPACE = "namespace"  # a network namespace that holds nothing but loopback and this socket
    NONE = "none"  # its own good behaviour
