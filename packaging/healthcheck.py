"""The image's health check: exit 0 if the proxy accepts a connection at the address in its ready file.

Standard library only and nothing of `proxy`, so that it starts in milliseconds. It connects and closes: no request,
so no audit event.
"""

import json
import os
import socket
import sys
from pathlib import Path

_TIMEOUT = 3.0


def check(state: Path) -> str:
    """What is wrong with the proxy that uses this state folder; empty if it accepts connections."""
    try:
        address = json.loads((state / "ready.json").read_text(encoding="utf-8"))["address"]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT):
            return ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"not ready: {type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(check(Path(os.environ.get("OUTGATE_STATE", "/var/lib/outgate"))) or 0)
