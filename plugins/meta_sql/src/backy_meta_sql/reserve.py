"""Keeps some disk space aside, so that removing and cleaning up still work when the database's disk is full."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["RESERVE_SIZE", "Reserve"]

RESERVE_SIZE = 8 * 1024 * 1024
"""Bytes. Twice what SQLite's log grows to before it is folded into the database."""

_LOAN = 256 * 1024
"""Bytes. What opening a database takes: SQLite's shared memory file and the start of its log."""


class Reserve:
    """The file `<database>.reserve`, really allocated."""

    def __init__(self, path: Path) -> None:
        self._file = Path(f"{path}.reserve")

    def make(self) -> bool:
        """Make it whole again as far as the disk allows; whether it is."""
        try:
            handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            before = os.fstat(handle).st_size
            try:
                os.posix_fallocate(handle, 0, RESERVE_SIZE)
            except OSError:
                # Some file systems keep what they had allocated when space ran out: that would starve the database.
                os.ftruncate(handle, before)
                return False
        finally:
            os.close(handle)
        return True

    def lend(self) -> bool:
        """Free just enough to open the database; False when nothing is left."""
        try:
            left = self._file.stat().st_size
            if left == 0:
                return False
            os.truncate(self._file, max(0, left - _LOAN))
        except OSError:
            return False
        return True

    def spend(self) -> bool:
        """Free all of it; False when nothing was left."""
        try:
            left = self._file.stat().st_size
            self._file.unlink()
        except OSError:
            return False
        return left > 0
