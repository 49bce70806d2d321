"""What runs in a sandbox for `outgate doctor`: client after client, and how each ended.

Run as a script by a bare Python, so it imports the standard library alone and nothing of ours. Argument: a JSON list of
`[name, command]`. It prints one JSON object, name to `[exit status, what it said]`; the status of a program that is not
there is 127, and of one that takes too long 124, as of timeout(1).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

_PATIENCE = 25.0
_MOST = 2000


def main() -> None:
    """Run all of them, a few at a time."""
    probes = json.loads(sys.argv[1])
    with ThreadPoolExecutor(4) as threads:
        done = dict(zip((name for name, _ in probes), threads.map(probe, (each for _, each in probes)), strict=True))
    sys.stdout.write(json.dumps(done))


def probe(command: list[str]) -> tuple[int, str]:
    """Run one client in a folder of its own; its exit status, and the end of what it said."""
    if shutil.which(command[0]) is None:
        return 127, ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return 124, ""
        except OSError:
            return 126, ""
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")[-_MOST:]


if __name__ == "__main__":
    main()
