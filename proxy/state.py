"""The state folder: where one proxy keeps its CA, its identity key, its audit log and its ready file.

Owns file names, modes, locking and atomic writes. Nobody but its owner may write in it.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError

PRIVATE = 0o600
PUBLIC = 0o644
_MAX_PRIVATE_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class StateDir:
    """The paths in a state folder. Make it with `open_state`, which checks the folder.

    `run` names the run of `outgate run` whose proxy this is; empty for `outgate serve`.
    """

    root: Path
    run: str = ""

    @property
    def ca_cert(self) -> Path:
        """Our CA certificate alone, PEM."""
        return self.root / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The CA's private key, PKCS 8 PEM, readable by the owner only."""
        return self.root / "ca-key.pem"

    @property
    def ca_bundle(self) -> Path:
        """The public roots and our CA, PEM, for clients whose variable replaces their default roots."""
        return self.root / "ca-bundle.pem"

    @property
    def truststore(self) -> Path:
        """What is in the bundle as PKCS 12, for Java."""
        return self.root / "truststore.p12"

    @property
    def identity_key(self) -> Path:
        """The 32 random bytes from which token and placeholder keys are derived, readable by the owner only."""
        return self.root / "identity.key"

    @property
    def audit_key(self) -> Path:
        """The private key that signs checkpoints of audit logs, PKCS 8 PEM, readable by the owner only."""
        return self.root / "audit-key.pem"

    @property
    def audit(self) -> Path:
        """The folder of the audit log."""
        return self.own / "audit"

    @property
    def ready(self) -> Path:
        """What the running proxy says of itself: see `proxy.ready`."""
        return self.own / "ready.json"

    @property
    def homes(self) -> Path:
        """What sandboxes of `outgate run` keep of their home folders. Nothing in it is to be trusted."""
        return self.root / "homes"

    @property
    def control(self) -> Path:
        """The socket through which launchers hand sandboxes to the running proxy: see `proxy.sandbox.handover`."""
        return self.own / "control.sock"

    @property
    def lock(self) -> Path:
        """Held by the running proxy."""
        return self.own / "lock"

    @property
    def own(self) -> Path:
        """The folder of one proxy: the state folder itself, or that of a run. Runs share keys and nothing else."""
        return self.root / "runs" / self.run if self.run else self.root


def open_state(root: Path, *, run: str = "", create: bool = True) -> StateDir:
    """Check the state folder, and make it (mode 0700) if `create` is true and it does not exist; that of a run as well.

    Raises `ConfigError` if it is missing, is no folder, belongs to somebody else, or others can write in it.
    """
    root = root.absolute()
    try:
        if create:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.stat()
    except FileNotFoundError:
        raise ConfigError(
            "there is no state folder", "start `outgate serve` first, or name its folder with --state", str(root)
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot use the state folder: {why(error)}", "choose one with --state", str(root)) from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError("the state folder is not a folder", "choose one with --state", str(root))
    if found.st_uid != os.geteuid():
        raise ConfigError(
            "the state folder belongs to another user", "run as its owner, or choose one with --state", str(root)
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError("others can write in the state folder", f"chmod 700 {root}", str(root))
    state = StateDir(root, run)
    if create and run:
        try:
            state.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the folder of the run: {why(error)}", "choose a state folder with --state", str(state.own)
            ) from None
    return state


@contextmanager
def serving(state: StateDir) -> Iterator[None]:
    """Hold the state folder for one proxy. Raises `ConfigError` at once if another one holds it."""
    with _locked(state.lock, wait=False):
        yield


@contextmanager
def writing_keys(state: StateDir) -> Iterator[None]:
    """Hold the right to make or replace keys in the folder; waits for another process that is doing so."""
    with _locked(state.root / "keys.lock", wait=True):
        yield


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    # The lock goes with the open file: the kernel drops it when the process ends, however it ends.
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise ConfigError(f"cannot open the lock: {why(error)}", "mend the state folder", str(path)) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        raise ConfigError(
            "another outgate serve uses this state folder",
            "stop it, or give this one a folder of its own with --state",
            str(path.parent),
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step: readers see the old content or the new, whole, never with wider rights than `mode`.

    Raises `ConfigError` where the disk or the folder refuses.
    """
    with _temporary(path, data, mode) as draft:
        draft.replace(path)


def create_once(path: Path, data: bytes, mode: int) -> bool:
    """As `write_atomic`, but never over an existing file. Returns whether this call made the file."""
    with _temporary(path, data, mode) as draft:
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return False
    return True


def write_json(path: Path, value: object) -> None:
    """Write one JSON document and a line break, atomically, mode 0644."""
    write_atomic(path, json.dumps(value, indent=2).encode() + b"\n", PUBLIC)


def read_private(path: Path) -> bytes:
    """The bytes of a key file. Raises `ConfigError` if anybody but its owner can read it, or it is no plain file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot read the key: {why(error)}", "restore it from a backup", str(path)) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("the key is not a plain file", "restore it from a backup", str(path))
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(
                "others can read the key, so it may have been copied",
                f"chmod 600 {path}, or replace the key if you cannot tell who read it",
                str(path),
            )
        return os.read(handle, _MAX_PRIVATE_FILE)
    finally:
        os.close(handle)


@contextmanager
def _temporary(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        yield draft
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(
            f"cannot write the file: {why(error)}", "free space, or choose another folder", str(path)
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def why(error: OSError) -> str:
    """The system's words for an error, for example `permission denied`, without the path."""
    return (error.strerror or type(error).__name__).lower()
