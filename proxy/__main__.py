"""`outgate`, and `python -m proxy`: the command line, which takes a moment to load."""

import signal


def main() -> None:
    """Run the command line and exit. Ctrl-C while it loads ends it at once: nothing has begun."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from proxy.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
