"""The Ed25519 key that checkpoints of the audit log are signed with, and its public part as hex or PEM."""

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from proxy.errors import ConfigError
from proxy.state import PRIVATE, StateDir, create_once, read_private, writing_keys

_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_MAX_FILE = 64 * 1024


def load_or_create(state: StateDir) -> Ed25519PrivateKey:
    """The key of this state folder, made on first use. Raises `ConfigError` if it is damaged or others can read it."""
    with writing_keys(state):
        if not state.audit_key.is_symlink() and not state.audit_key.exists():
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            create_once(state.audit_key, pem, PRIVATE)
        return load(state)


def load(state: StateDir) -> Ed25519PrivateKey:
    """The key of this state folder. Raises `ConfigError` if there is none, too."""
    try:
        key = load_pem_private_key(read_private(state.audit_key), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            "the audit key is damaged",
            "restore it from a backup, or remove it: what it signed can then only be verified with its public part",
            str(state.audit_key),
        )
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public part, 64 hex digits."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def read_public(text: str) -> str:
    """The public key that a user named, as 64 hex digits: the digits, or a file that holds them or PEM.

    Raises `ConfigError`.
    """
    if _HEX.fullmatch(text):
        return text.lower()
    hint = "give 64 hex digits, as `outgate audit key` prints them, or a file with them or with a PEM public key"
    try:
        with Path(text).open("rb") as file:
            data = file.read(_MAX_FILE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the public key: {getattr(error, 'strerror', None) or error}", hint) from None
    stripped = data.decode("latin-1").strip()
    if _HEX.fullmatch(stripped):
        return stripped.lower()
    try:
        key = load_pem_public_key(data)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("not an Ed25519 public key", hint, text)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def signed_by(public: str, signature: bytes, message: bytes) -> bool:
    """Whether the key with this public part, as hex, signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
