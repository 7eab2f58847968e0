"""Passphrases: which are accepted, and Argon2id, which makes each guess at one cost memory and time."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backy_core.errors import InvalidInput, KeyRefused, PluginError

__all__ = ["DEFAULT_MEMORY", "Argon2", "check_new", "fresh_argon2", "normalised", "read_argon2", "read_file"]

DEFAULT_MEMORY = 256 * 1024 * 1024
"""Bytes of memory that opening a new key slot takes. About a second on a machine of today."""

LEAST_MEMORY, MOST_MEMORY = 64 * 1024 * 1024, 1024 * 1024 * 1024
LEAST_ITERATIONS, MOST_ITERATIONS = 3, 16
DEFAULT_LANES, MOST_LANES = 4, 16
SHORTEST = 8
_SALT = 16
_LONGEST_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Argon2:
    """The parameters of Argon2id as a key slot carries them."""

    memory_kib: int
    iterations: int
    lanes: int
    salt: bytes

    def document(self) -> dict[str, Any]:
        """As it stands in a key slot."""
        return {
            "name": "argon2id",
            "memory_kib": self.memory_kib,
            "iterations": self.iterations,
            "lanes": self.lanes,
            "salt": self.salt.hex(),
        }

    def derive(self, passphrase: str) -> bytes:
        """The input key that the passphrase gives; takes the memory and time that the parameters say.

        Raises `KeyRefused` when there is not so much memory, `PluginError` when the library has no Argon2id.
        """
        from cryptography.exceptions import UnsupportedAlgorithm

        try:
            from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

            function = Argon2id(
                salt=self.salt, length=32, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory_kib
            )
        except (ImportError, UnsupportedAlgorithm) as error:
            raise PluginError(
                "passphrases need Argon2id: install the package cryptography in version 44 or newer, with its own"
                " OpenSSL: pip install --upgrade cryptography"
            ) from error
        try:
            return function.derive(normalised(passphrase))
        except MemoryError as error:
            raise KeyRefused(
                f"a key slot needs {self.memory_kib // 1024} MiB of free memory to be opened; free some and try again"
            ) from error


def fresh_argon2(memory: int | None = None) -> Argon2:
    """Parameters for a new key slot that takes `memory` bytes to open. Raises `InvalidInput` beyond the bounds."""
    memory = DEFAULT_MEMORY if memory is None else memory
    if not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise InvalidInput(f"the memory of a key slot must be from 64MiB to 1GiB, not {memory} bytes")
    return Argon2(memory // 1024, LEAST_ITERATIONS, DEFAULT_LANES, os.urandom(_SALT))


def read_argon2(said: Any) -> Argon2:
    """The parameters in a key slot; raises `ValueError` when they are none, `KeyRefused` when they demand too much."""
    if not isinstance(said, dict) or said.get("name") != "argon2id":
        raise ValueError("its function is not argon2id")
    numbers = [said.get(field) for field in ("memory_kib", "iterations", "lanes")]
    memory, iterations, lanes = (number if type(number) is int else 0 for number in numbers)
    salt = bytes.fromhex(said["salt"]) if isinstance(said.get("salt"), str) else b""
    if memory * 1024 > MOST_MEMORY or iterations > MOST_ITERATIONS or lanes > MOST_LANES:
        raise KeyRefused(
            f"demands {memory // 1024} MiB, {iterations} iterations, {lanes} lanes; at most 1024 MiB, "
            f"{MOST_ITERATIONS} and {MOST_LANES} are granted"
        )
    if iterations < 1 or lanes < 1 or memory < 8 * lanes or not 8 <= len(salt) <= 64:
        raise ValueError("the parameters of its argon2id are none")
    return Argon2(memory, iterations, lanes, salt)


def normalised(passphrase: str) -> bytes:
    """The bytes that a passphrase means, however its letters were composed. Raises `KeyRefused` for an empty one."""
    if not passphrase.strip():
        raise KeyRefused("the passphrase is empty; give one")
    try:
        return unicodedata.normalize("NFC", passphrase).encode("utf-8")
    except UnicodeEncodeError:
        raise KeyRefused("the passphrase is no UTF-8 text; set the terminal or the file to UTF-8") from None


def check_new(passphrase: str) -> str:
    """`passphrase`, if it may guard a new key slot; raises `InvalidInput` when it is empty or short, `KeyRefused`."""
    if not passphrase.strip():
        raise InvalidInput("the passphrase is empty; choose a long one")
    normalised(passphrase)
    if len(unicodedata.normalize("NFC", passphrase)) < SHORTEST:
        raise InvalidInput(f"the passphrase is too short: use at least {SHORTEST} characters, better five random words")
    return passphrase


def read_file(path: Path) -> str:
    """The passphrase in a file, without the line feed at its end; raises `InvalidInput` when it cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read the passphrase from {path}: {error.strerror}") from error
    if len(raw) > _LONGEST_FILE:
        raise InvalidInput(f"{path} is too long for a passphrase")
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"the passphrase in {path} is no UTF-8 text") from None
