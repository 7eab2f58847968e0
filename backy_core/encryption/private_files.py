"""Files with secrets: made for their owner alone, never over another file; and read with a bound."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from backy_core.errors import InvalidInput

__all__ = ["create", "read"]

_LIMIT = 128 * 1024


def create(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Make a file with this content, durably; raises `InvalidInput` when there is one, or it cannot be made."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists already and is not overwritten; give another name") from error
    except OSError as error:
        raise InvalidInput(f"cannot make {path}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            os.unlink(path)
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> bytes:
    """The content of a file; raises `OSError`, and `ValueError` when it is longer than any key file."""
    with open(path, "rb") as file:
        content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise ValueError("is too long for a key")
    return content
