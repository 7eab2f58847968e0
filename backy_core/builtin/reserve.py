"""A file that holds space back, so that a full disk can still take the few small objects that freeing space needs."""

from __future__ import annotations

import contextlib
import os

__all__ = ["RESERVE_NAME", "RESERVE_SIZE", "Reserve"]

RESERVE_NAME = "reserve"
RESERVE_SIZE = 1024 * 1024


class Reserve:
    """The reserve of the directory that `root` is a descriptor of. Its methods raise plain `OSError`."""

    def __init__(self, root: int, size: int = RESERVE_SIZE) -> None:
        self._root = root
        self._size = size

    def make(self) -> None:
        """Make it unless it is there; the blocks are really allocated. When that fails, none of it stays behind."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(RESERVE_NAME, flags, 0o600, dir_fd=self._root)
        try:
            # Not the size but the blocks tell: a copy of the directory may have made a sparse file of it.
            if os.fstat(fd).st_blocks * 512 < self._size:
                os.posix_fallocate(fd, 0, self._size)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(RESERVE_NAME, dir_fd=self._root)
            raise
        finally:
            os.close(fd)

    def spend(self) -> None:
        """Give its space back to the file system; nothing happens when it is spent already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(RESERVE_NAME, dir_fd=self._root)
            # A journalling file system hands freed blocks out again only after a commit.
            os.fsync(self._root)

    def remake(self) -> None:
        """Make it again if there is room. If not, the next call tries again."""
        with contextlib.suppress(OSError):
            self.make()
