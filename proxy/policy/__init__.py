"""The core: what a policy means. Pure values and functions; no I/O, no clock, no mitmproxy."""
