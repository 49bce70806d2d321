"""The forms in which a secret can leave."""

import base64
import json
import urllib.parse


def forms(secret: str) -> dict[str, bytes]:
    """The secret as it is, in base64 (whatever stands before it), hex, percent-encoded and JSON-escaped."""
    raw = secret.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "percent": urllib.parse.quote(secret, safe="").encode(),
        "json": json.dumps(secret)[1:-1].replace("/", "\\/").encode(),
    }
    for shift in range(3):
        # The inner part is the same for any neighbours of the secret at this distance from a multiple of three.
        padded = base64.b64encode(b"\0" * shift + raw + b"\0" * (-(len(raw) + shift) % 3))
        found[f"base64 at {shift}"] = padded[4 if shift else 0 : -4]
    return found
