"""The fast lane: HTTP/1.1 over asyncio protocols, for the plain case. Everything else goes through mitmproxy."""
