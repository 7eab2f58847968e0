"""Which file system a path lies on: SQLite's shared memory and locks do not work on network file systems."""

from __future__ import annotations

import os
from pathlib import Path

from backy_core.errors import RepositoryError

__all__ = ["LOCAL_FUSE_TYPES", "MOUNTINFO", "NETWORK_TYPES", "filesystem_type", "refuse_network"]

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "smb2", "smb3", "smb3_kernel", "ceph", "9p", "afs", "virtiofs", "lustre"}
    | {"gfs", "gfs2", "ocfs2", "gpfs", "beegfs", "glusterfs", "orangefs", "coda", "fuse"}
)
LOCAL_FUSE_TYPES = frozenset({"fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.ext2", "fuse.fuse2fs", "fuse.zfs-fuse"})
"""File systems in user space that lie on a local disk; of the others (sshfs, rclone, ...) most do not."""


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
    """Raise `RepositoryError` when `path` lies on a network file system, or on one in user space that may be one."""
    kind = filesystem_type(path, mountinfo)
    if kind in NETWORK_TYPES or (kind is not None and kind.startswith("fuse.") and kind not in LOCAL_FUSE_TYPES):
        raise RepositoryError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data; keep the database on a local disk"
        )


def _unescaped(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
