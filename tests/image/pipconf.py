"""Hand this machine's pip configuration to an image build: write it to a file, print the `--volume` arguments it needs.

Usage: pipconf.py FILE. The file may hold an index's password, so it is readable by its owner only and given to the
build as a secret. Local folders and certificates that it names are mounted read-only; only empty mount points stay in
the image.
"""

import ast
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

_WANTED = {"index-url", "extra-index-url", "find-links", "cert", "client-cert", "trusted-host", "proxy"}


def main(target: Path) -> None:
    """Write the configuration to `target` and print one argument per line."""
    options = _options()
    lines = ["[global]", *(f"{key} = {value}" for key, value in options.items())]
    target.touch(mode=0o600)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folders = {folder for value in options.values() for word in value.split() if (folder := _local(word))}
    for folder in sorted(folders):
        sys.stdout.write(f"--volume={folder}:{folder}:ro\n")


def _options() -> dict[str, str]:
    """What pip was told on this machine; the environment beats files, as it does in pip."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
    pairs.sort(key=lambda pair: pair[0].startswith(":env:"))
    named = {key.rpartition(".")[2]: str(ast.literal_eval(value)) for key, value in pairs}
    return {key: " ".join(value.split()) for key, value in named.items() if key in _WANTED}


def _local(word: str) -> Path | None:
    """The folder or file that a value names on this machine. The pages of a file index link to folders beside it."""
    url = urlsplit(word)
    path = Path(url.path)
    if url.scheme not in {"", "file"} or not path.is_absolute() or not path.exists():
        return None
    return path.parent if url.scheme == "file" else path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
