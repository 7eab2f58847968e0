"""A restore over an existing regular file, by force: in place, so that its links, owner and mode stay."""

from __future__ import annotations

import os
import stat

from backy_core.errors import TargetError, TargetInUse
from backy_io_file.partial import lock
from backy_io_file.paths import shown
from backy_io_file.usage import file_user, lock_user
from backy_io_file.writing import OpenTarget

__all__ = ["ExistingFile"]


class ExistingFile(OpenTarget):
    """An existing file, emptied: no byte of it survives. Refused while something uses it."""

    starts_zeroed = True

    def __init__(self, path: str, size: int) -> None:
        name = shown(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise TargetError(f"cannot open {name} for writing: {error.strerror}; give another target") from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise TargetError(f"{name} was replaced while it was opened; restore again")
            user = file_user(found) or lock_user(descriptor)
            if user:
                raise TargetInUse(f"{name} is {user}; detach it or restore to another target")
            lock(descriptor, name)
        except BaseException:
            os.close(descriptor)
            raise
        super().__init__(descriptor, path, size, unit=1, one_writer=True)
        try:
            # The first call finds out whether the size is possible while nothing has been lost yet.
            for length in (max(size, found.st_size), 0, size):
                os.ftruncate(descriptor, length)
        except OSError as error:
            self._close()
            raise self._failed("make room in", error, size) from error

    def finish(self) -> None:
        """Make the file durable."""
        self._make_durable()
        self._close()

    def abandon(self) -> None:
        """Leave an empty file: what was in it is gone, and a half restored one must not pass for a whole one."""
        if self._descriptor < 0:
            return
        try:
            os.ftruncate(self._descriptor, 0)
        finally:
            self._close()
