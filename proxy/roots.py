"""What clients are to trust, as files: the public roots and our CA. Made by `proxy.ca`, which knows certificates."""

import certifi

from proxy.state import StateDir


def bundle(authority: bytes) -> bytes:
    """The public roots (certifi) and our CA, PEM."""
    return certifi.contents().encode() + b"\n# Outgate\n" + authority


def are_current(state: StateDir) -> bool:
    """Whether the bundle and the trust store hold the CA of this state folder and the public roots of today."""
    try:
        wanted = bundle(state.ca_cert.read_bytes())
        # The trust store is written before the bundle, so whether this one is current tells of both.
        return state.ca_key.exists() and state.ca_bundle.read_bytes() == wanted and state.truststore.exists()
    except OSError:
        return False
