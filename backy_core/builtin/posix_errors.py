"""Turns the errors of a file system into the store's own, each with the path, the cause and the next step."""

from __future__ import annotations

import errno
import os

from backy_core.errors import BackyError, OutOfSpace, StoreError

__all__ = ["FULL", "UNREADABLE", "StoreRefuses", "shown", "translated"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

UNREADABLE = frozenset({errno.EIO, errno.ENODATA, errno.EBADMSG, errno.EUCLEAN, errno.EILSEQ})
"""What file systems answer for bytes that are on a bad sector or fail their checksum (XFS: ENODATA, EBADMSG)."""

_REMEDIES = {
    errno.ENOENT: "it vanished; is the file system mounted?",
    errno.ESTALE: "mount the file system again",
    errno.EACCES: "give this user read and write access to it",
    errno.EPERM: "give this user read and write access to it",
    errno.EROFS: "mount the file system writable",
    errno.ENOTDIR: "move away what stands where a directory should be",
    errno.EEXIST: "move away what stands where a directory should be",
    errno.ELOOP: "replace the symbolic link by what it should point at",
    errno.EXDEV: "keep the whole store on one file system",
    errno.ENAMETOOLONG: "use a directory with a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (sysctl fs.file-max)",
    errno.EIO: "check the disk and the kernel log",
    errno.EUCLEAN: "check the file system with fsck",
}

# Somebody has to mend these first: trying again only delays the message.
_LASTING = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG}
)


class StoreRefuses(StoreError):
    """The file system refuses, and will until somebody mends it."""

    again = False


def shown(path: str) -> str:
    """The path as a message may contain it: on one line whatever its name."""
    return path if path.isprintable() else ascii(path)


def translated(error: OSError, action: str, path: str) -> BackyError:
    """The store's error for `error`, met while doing `action` to `path`; the caller raises it from the original."""
    code = error.errno or 0
    if code in FULL:
        return OutOfSpace(f"no space left in the store: cannot {action} {shown(path)}; free space or run backy cleanup")
    kind = StoreRefuses if code in _LASTING else StoreError
    cause = os.strerror(code).lower() if code else str(error)
    return kind(f"cannot {action} {shown(path)}: {cause}; {_REMEDIES.get(code, 'check its file system')}")
