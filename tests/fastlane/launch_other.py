"""`outgate` with every client on the mitmproxy lane. Started by tests alone, as `python launch_other.py serve ...`."""

import sys

from proxy.cli import main
from proxy.engine.listener import Listener

if __name__ == "__main__":
    Listener.fast = False
    main(sys.argv[1:])
