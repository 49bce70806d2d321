"""`python -m proxy` is `outgate`."""

from proxy.cli import main

if __name__ == "__main__":
    main()
