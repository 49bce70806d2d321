"""A built image on this machine, run the way a container engine runs it, without an engine.

Works inside mount and network namespaces made by tests/image/run, so nothing that it mounts outlives the test.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 30.0
DEVICES = ("null", "zero", "random", "urandom")


@dataclass(frozen=True)
class Image:
    """The unpacked root file system of an image, and its `config` as `docker inspect` shows it."""

    root: Path
    config: dict[str, Any]

    def start(self, command: list[str], env: dict[str, str], **options: Any) -> "subprocess.Popen[bytes]":
        """Run a command as PID 1 of a namespace of its own."""
        own = [f"{key}={value}" for key, value in env.items()]
        namespace = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"]
        return subprocess.Popen([*namespace, *self._inside(), *own, *command], **options)

    def run(
        self, command: list[str], beside: "subprocess.Popen[bytes] | None" = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command to its end: `beside` a process of `start` as `docker exec` does, else as PID 1."""
        if beside is None:
            process = self.start(command, {}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        else:
            namespace = ["nsenter", "--pid", "--mount", f"--target={first(beside)}"]
            process = subprocess.Popen(
                [*namespace, *self._inside(), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        with process:
            out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def _inside(self) -> list[str]:
        """The image's root, user and environment, and no way to more privileges."""
        user = f"--userspec={self.config['User']}"
        chroot = ["setpriv", "--no-new-privs", "chroot", user, "--groups=", str(self.root)]
        return [*chroot, "/usr/bin/env", "-i", "--chdir", self.config["WorkingDir"], *self.config["Env"]]

    def mount(self, state: Path, policies: Path) -> None:
        """Mount what an engine mounts: a few devices, /tmp, the volume and the policies; the root is read-only then."""
        (self.root / "policies").mkdir(exist_ok=True)
        _mount("--bind", str(self.root), str(self.root))
        _mount("-t", "tmpfs", "tmpfs", str(self.root / "tmp"))
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(self.root / "dev"))
        for name in DEVICES:
            (self.root / "dev" / name).touch()
            _mount("--bind", f"/dev/{name}", str(self.root / "dev" / name))
        _mount("--bind", str(state), str(self.root / "var/lib/outgate"))
        _mount("--bind", str(policies), str(self.root / "policies"))
        for folder in (self.root, self.root / "policies"):
            _mount("-o", "remount,bind,ro", str(folder))


def first(process: "subprocess.Popen[bytes]") -> int:
    """The process that is PID 1 in the namespace of a process of `Image.start`, as this machine counts."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    return int(children[0])


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
