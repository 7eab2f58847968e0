"""Turns what SQLite and the operating system complain about into errors that name the database and the next step."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from backy_core.errors import BackyError, InternalError, MetaError, OutOfSpace

__all__ = ["MetaDamaged", "MetaRefused", "disk_is_full", "translated"]


class MetaDamaged(MetaError):
    """The database file is damaged; trying again cannot help."""

    again = False


class MetaRefused(MetaError):
    """The database may not be opened or written by this user; trying again cannot help."""

    again = False


_FULL_MARGIN = 64 * 1024
"""Bytes. SQLite's shared memory file takes 32 KiB at least; with less than this an I/O error means a full disk."""


def disk_is_full(path: Path) -> bool:
    """Whether the file system of `path` has no room for what SQLite needs to open a database."""
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _FULL_MARGIN


def translated(error: Exception, path: Path) -> BackyError:
    """The error of backy for an error of SQLite or the operating system about the database at `path`."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _out_of_space(path)
        reason = error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return MetaRefused(f"the metadata database {path} is refused ({reason.lower()}); check its owner and mode")
        return MetaError(f"the metadata database {path} cannot be used: {reason.lower()}")
    # Without a code it is not SQLite that complains but its Python module: about a call that cannot be right.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _out_of_space(path)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and disk_is_full(path):
        return _out_of_space(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return MetaError(f"the metadata database {path} is locked by another program; try again when it is done")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return MetaDamaged(
            f"the metadata database {path} is damaged ({error}); put back a copy, or rebuild it from the store"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN):
        return MetaRefused(
            f"the metadata database {path} cannot be written ({error}); check its owner and mode, and its folder's"
        )
    if code == sqlite3.SQLITE_IOERR:
        return MetaError(f"the metadata database {path} cannot be read or written ({error}); check the disk")
    return InternalError(f"the metadata database {path} refused a step ({error}); report it")


def _out_of_space(path: Path) -> OutOfSpace:
    return OutOfSpace(f"no space left for the metadata database {path}: free some on its disk, or run `backy cleanup`")
