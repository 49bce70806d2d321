"""The mitmproxy engine: our listener, connection handler, layers and workers. Only it and `addons` know mitmproxy."""

from proxy.engine.hollow import put_in_place

put_in_place()
