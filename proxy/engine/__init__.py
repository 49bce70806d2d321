"""The mitmproxy engine: our listener, connection handler, layers and workers. Only it and `addons` know mitmproxy."""
