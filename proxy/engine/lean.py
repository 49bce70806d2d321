"""mitmproxy's master and its server addon, without the other addons of their package.

`mitmproxy.addons` imports every stock addon: scripts, storage, replay, a web app, and flask and ldap3 with them. None
is ever added to our master; what is not loaded cannot be reached and takes no memory. So the package is put in place
bare before the two modules of mitmproxy 12.2.3 that import from it; they are imported from here alone.
"""

import sys
from importlib.util import find_spec, module_from_spec

_PACKAGE = "mitmproxy.addons"

if _PACKAGE not in sys.modules:
    spec = find_spec(_PACKAGE)
    assert spec is not None
    sys.modules[_PACKAGE] = module_from_spec(spec)  # knows where its modules are; its own code does not run

from mitmproxy.addons.proxyserver import Proxyserver  # noqa: E402 - only now
from mitmproxy.master import Master  # noqa: E402

__all__ = ["Master", "Proxyserver"]
