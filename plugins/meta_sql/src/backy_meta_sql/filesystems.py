"""Which file system a path lies on: SQLite's shared memory and locks do not work on network file systems."""

from __future__ import annotations

import os
from pathlib import Path

from backy_core.errors import RepositoryError

__all__ = ["MOUNTINFO", "NETWORK_TYPES", "filesystem_type", "refuse_network"]

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb", "smbfs", "smb2", "smb3", "ceph", "9p", "afs"})


def filesystem_type(path: Path, mountinfo: Path = MOUNTINFO) -> str | None:
    """The type of the file system that holds `path`, or would hold it; None where the mount table cannot be read."""
    real = os.path.realpath(path)
    found: str | None = None
    longest = -1
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields, separator, rest = line.partition(" - ")
        if not separator:
            continue
        point = _unescaped(fields.split(" ")[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # Equal mount points: the later line lies on top of the earlier one.
        if inside and len(point) >= longest:
            longest, found = len(point), rest.split(" ")[0]
    return found


def refuse_network(path: Path, mountinfo: Path = MOUNTINFO) -> None:
    """Raise `RepositoryError` when `path` lies on a network file system."""
    kind = filesystem_type(path, mountinfo)
    if kind in NETWORK_TYPES:
        raise RepositoryError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data; keep the database on a local disk"
        )


def _unescaped(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
