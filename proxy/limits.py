"""Bounds: everything that a client or an upstream could grow or delay. Sizes in bytes, times in seconds."""

MAX_HEAD = 64 * 1024  # a request or response head, and what a client may send ahead of its answer
MAX_HELLO = 32 * 1024  # a TLS ClientHello; mitmproxy's parser is quadratic in its fragments
MAX_HELLO_RECORDS = 16  # TLS records that a ClientHello may come in
MAX_TRAILERS = 16 * 1024
MAX_CLIENTS = 4096  # connections of one worker
MAX_HTTP2_RESETS = 100  # streams that a client may reset in RESET_TIME
MAX_HTTP2_STREAMS = 100  # requests that run at once on one client connection, whatever HTTP/2 counts as open
MAX_INTERIM = 16  # 1xx answers before the final one
MAX_BLANK_LINES = 8  # empty lines before a request line
MAX_HTTP2_BUFFER = 1 << 20  # unsent HTTP/2 data of one client connection
MAX_PORTION = 256 * 1024  # of a decoded answer that is handed on before the client has taken what came before
HEAD_TIME = 30.0  # from the first byte of a head or a handshake to its last
RESOLVE_TIME = 5.0
DIAL_TIME = 10.0  # look-up, connection and TLS handshake together
IDLE_TIME = 3600  # without a byte in either direction; models think for a long time
LONG_TIME = 60.0  # after which an exchange that still runs is noted in the audit log
RESET_TIME = 10.0
QUIET_TIME = 300.0  # a connection on which nothing is asked
STALLED_TIME = 120.0  # an HTTP/2 peer that takes nothing of what waits, an upload whose client has closed
HANG_TIME = 30.0  # without a turn of a worker's event loop; then the worker is ended and replaced
LINGER_TIME = 30.0  # for what is written and not taken yet when a connection closes
DRAIN_TIME = 10.0  # for what is in flight when the proxy stops
BACKLOG = 1024  # connections that wait to be accepted
MAX_DISCARD = 16 << 20  # the body of a refused request that is read and thrown away before the connection is closed
