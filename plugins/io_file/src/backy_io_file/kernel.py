"""The two system calls Python has no name for: fallocate with a mode, and a rename that replaces nothing."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

__all__ = ["PUNCH_HOLE", "ZERO_RANGE", "fallocate", "rename_without_replacing"]

_KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02 | _KEEP_SIZE
"""Free the space of a range; it reads as zeros, and the size stays. On a block device the kernel guarantees zeros."""
ZERO_RANGE = 0x10 | _KEEP_SIZE
"""Make a range read as zeros, by writing them where the device knows nothing better; the size stays."""

_RENAME_NOREPLACE = 1


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    for name in ("fallocate", "fallocate64"):
        if hasattr(library, name):
            getattr(library, name).argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if hasattr(library, "renameat2"):
        library.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return library


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """Change the allocation of a range; raises `OSError` (EOPNOTSUPP where the file system or device cannot)."""
    library = _library()
    # glibc's plain name takes a 32-bit offset on 32-bit machines; musl has only the plain name, always 64 bits wide.
    call = library.fallocate64 if hasattr(library, "fallocate64") else library.fallocate
    while call(descriptor, mode, offset, length):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def rename_without_replacing(directory: int, old: str, new: str) -> None:
    """Rename within an open directory; raises `FileExistsError` when something has the new name.

    EINVAL or ENOSYS: the file system or the C library cannot.
    """
    library = _library()
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if library.renameat2(directory, os.fsencode(old), directory, os.fsencode(new), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
