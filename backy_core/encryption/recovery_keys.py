"""Recovery keys: X25519 pairs in PEM files, made here or by `openssl genpkey -algorithm X25519`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from backy_core.encryption import private_files
from backy_core.errors import InvalidInput, KeyRefused

__all__ = ["make_recovery_key", "read_private", "read_public"]


def make_recovery_key(path: Path) -> Path:
    """Make a pair: the private key in `path`, for its owner alone, the public one in the path returned.

    Raises `InvalidInput` when one of the files exists or cannot be written; then neither is left behind.
    """
    public_path = path.with_name(path.name + ".pub")
    if os.path.lexists(public_path):
        raise InvalidInput(f"{public_path} exists already and is not overwritten; give another name")
    private = X25519PrivateKey.generate()
    private_files.create(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        private_files.create(public_path, public, 0o644)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)  # just made here, and of no use without the other
        raise
    return public_path


def read_public(path: Path) -> bytes:
    """The X25519 public key in a PEM file; raises `InvalidInput`."""
    try:
        content = private_files.read(path)
        found = load_pem_public_key(content)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, X25519PublicKey):
        raise InvalidInput(
            f"{path} holds no X25519 public key in PEM; `backy key recovery-key FILE` makes a pair, and FILE.pub is it"
        )
    return found.public_bytes_raw()


def read_private(path: Path) -> X25519PrivateKey:
    """The X25519 private key in a PEM file; raises `KeyRefused`."""
    try:
        content = private_files.read(path)
        found = load_pem_private_key(content, password=None)
    except OSError as error:
        raise KeyRefused(f"cannot read the recovery key {path}: {error.strerror}") from error
    except TypeError:
        raise KeyRefused(f"{path} is protected by a password; take it off with `openssl pkey -in FILE`") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(f"{path} holds no X25519 private key in PEM") from None
    if not isinstance(found, X25519PrivateKey):
        raise KeyRefused(f"{path} holds a key of another kind than X25519")
    return found
