"""Our mitmproxy addons: hooks only, each delegates at once. `build` is the list of them.

Order does not decide anything: no two of them share a hook.
"""

from addons.protocol import Protocol
from addons.record import Record
from addons.requests import Requests
from addons.responses import Responses
from addons.tls import Tls


def build() -> list[object]:
    """The addons of a worker, for `proxy.engine.worker`."""
    return [Protocol(), Tls(), Requests(), Responses(), Record()]
