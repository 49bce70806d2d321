"""Bounds: everything that a client or an upstream could grow or delay. Sizes in bytes, times in seconds."""

MAX_HEAD = 64 * 1024  # a request or response head, and what a client may send ahead of its answer
MAX_HELLO = 32 * 1024  # a TLS ClientHello; mitmproxy's parser is quadratic in its fragments
MAX_HELLO_RECORDS = 16  # TLS records that a ClientHello may come in
MAX_TRAILERS = 16 * 1024
MAX_CLIENTS = 4096  # connections of one worker
MAX_HTTP2_RESETS = 100  # streams that a client may reset before most of its requests must be whole
MAX_INTERIM = 16  # 1xx answers before the final one
MAX_HTTP2_BUFFER = 1 << 20  # unsent HTTP/2 data of one client connection
HEAD_TIME = 30.0  # from the first byte of a head or a handshake to its last
RESOLVE_TIME = 5.0
DIAL_TIME = 10.0
IDLE_TIME = 3600  # without a byte in either direction; models think for a long time
LONG_TIME = 60.0  # after which an exchange that still runs is noted in the audit log
QUIET_TIME = 300.0  # a connection on which nothing is asked
STALLED_TIME = 120.0  # an HTTP/2 peer that takes nothing of what waits for it
DRAIN_TIME = 10.0  # for what is in flight when the proxy stops
BACKLOG = 1024  # connections that wait to be accepted
MAX_DISCARD = 16 << 20  # the body of a refused request that is read and thrown away before the connection is closed
