"""Opens the files of an installation of backy2 for reading, and says in one line why one cannot be read."""

from __future__ import annotations

import os
import stat

from backy_core.errors import NotFound, SourceError
from backy_io_backy2.location import shown

__all__ = ["open_export", "open_regular", "require_folder"]


def open_regular(path: str) -> int:
    """A descriptor of the regular file at `path`; raises `OSError`, for anything else, too."""
    # A pipe in a file's place would wait for a writer for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no regular file")
    return descriptor


def open_export(path: str) -> int:
    """A descriptor of the export; raises `NotFound` or `SourceError`."""
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no such export: {shown(path)}; make it with backy2 export") from error
    except OSError as error:
        raise SourceError(
            f"cannot read the export {shown(path)}: {error.strerror}; check its owner and mode"
        ) from error


def require_folder(path: str) -> None:
    """Raise `NotFound` or `SourceError` when the folder of the blobs is not one that can be looked into."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise SourceError(f"{shown(path)} is no folder; data= is the path in backy2's [DataBackend]")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no such folder: {shown(path)}; data= is the path in backy2's [DataBackend]") from error
    except OSError as error:
        raise SourceError(f"cannot look into {shown(path)}: {error.strerror}; check its owner and mode") from error
    if not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"{shown(path)} may not be read by this user; run as root or as backy2's user")
