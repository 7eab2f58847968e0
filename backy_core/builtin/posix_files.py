"""Single files below a store's root: written in full before they get a name, read in full or not at all.

All paths are relative to `root`, a descriptor of the root directory, which cannot come to mean another directory while
it is open. Functions raise plain `OSError`; the store knows what to make of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Sequence

from backy_core.model import Buffer

__all__ = ["TMP", "NotRegular", "ShortRead", "Unfinished", "make_folders", "parent", "read", "sync_folder", "write_all"]

TMP = "tmp"
"""The folder of named temporary files, where the file system cannot make anonymous ones."""

_MAX_PARTS = 1024  # IOV_MAX of Linux


class NotRegular(OSError):
    """A folder, FIFO, socket, device or symbolic link stands where an object should be."""


class ShortRead(OSError):
    """The file ended before the length that it said it has."""


def parent(path: str) -> str:
    """The folder of a relative path; "" for the root itself."""
    return path.rpartition("/")[0]


def write_all(fd: int, parts: Sequence[Buffer]) -> int:
    """Write every byte of the parts, however often the kernel takes less than asked for; returns their length.

    A disk that fills up takes what fits and says so only by the count; the next call then raises ENOSPC.
    """
    views = [view for part in parts if (view := memoryview(part).cast("B"))]
    total = sum(map(len, views))
    while views:
        written = os.writev(fd, views[:_MAX_PARTS])
        if not written:
            raise OSError(errno.EIO, "the kernel wrote nothing and named no error")
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
    return total


def make_folders(root: int, folder: str) -> None:
    """Make `folder` and its parents, for this user only; those that exist are left as they are."""
    parts = folder.split("/")
    for depth in range(1, len(parts) + 1):
        with contextlib.suppress(FileExistsError):
            os.mkdir("/".join(parts[:depth]), 0o700, dir_fd=root)


def sync_folder(root: int, folder: str) -> None:
    """Make the names in `folder` durable. File systems that cannot fsync a folder (EINVAL) do it unasked."""
    fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


class Unfinished:
    """A file without a final name: only its descriptor knows it, or a name in `tmp/`. Ends with `discard`, always."""

    __slots__ = ("_fd", "_root", "_temporary", "key", "size")

    def __init__(self, root: int, key: str, *, anonymous: bool) -> None:
        """Raises FileNotFoundError when the folder it is made in is missing."""
        self.key = key
        self.size = 0
        self._root = root
        self._temporary: str | None = None
        if anonymous:
            flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
            self._fd = os.open(parent(key) or ".", flags, 0o600, dir_fd=root)
        else:
            name = f"{TMP}/{key.replace('/', '%')}.{secrets.token_hex(8)}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._fd = os.open(name, flags, 0o600, dir_fd=root)
            self._temporary = name

    def write(self, parts: Sequence[Buffer]) -> None:
        """Write the parts and have the kernel start carrying them to the disk, without waiting for it."""
        self.size = write_all(self._fd, parts)
        self._drop_pages()

    def flush(self) -> None:
        """Make the bytes durable. After an error the kernel takes lost pages for clean: never call it again then."""
        os.fsync(self._fd)

    def publish(self) -> None:
        """Give it its final name; FileExistsError when another file has it."""
        source = self._temporary or f"/proc/self/fd/{self._fd}"
        try:
            # Naming a directory makes Python call linkat, which follows the link in /proc to the file itself.
            os.link(source, self.key, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=True)
        except FileExistsError:
            # A network file system that repeats a request whose answer got lost finds the name that it just made.
            if not os.path.samestat(os.stat(self.key, dir_fd=self._root, follow_symlinks=False), os.fstat(self._fd)):
                raise

    def discard(self) -> None:
        """Close it and drop the temporary name and the cached pages. What was published stays."""
        if self._fd < 0:
            return
        self._drop_pages()
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)
        if self._temporary:
            # After the close: NFS renames a file that is unlinked while it is open instead of removing it.
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._root)

    def _drop_pages(self) -> None:
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read(root: int, key: str, offset: int, length: int | None) -> bytes:
    """The bytes of a file from `offset`, at most `length`; raises `NotRegular` or `ShortRead`.

    Pages that were not in the cache before are dropped from it again: a restore or scrub reads each object once.
    """
    # Without O_NONBLOCK the open of a FIFO waits for a writer that never comes.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(key, flags, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            raise NotRegular(error.errno, "not a regular file") from error
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegular(errno.EINVAL, "not a regular file")
        end = found.st_size if length is None else min(found.st_size, offset + length)
        if end <= offset:
            return b""
        was_cached = _is_cached(fd, offset, end)
        # pread fills a fresh bytes object in place: the only way to bytes without a second copy.
        data = os.pread(fd, end - offset, offset)
        while len(data) < end - offset:  # over 2 GiB, or an error in the middle, which the next call names
            more = os.pread(fd, end - offset - len(data), offset + len(data))
            if not more:
                raise ShortRead(errno.EIO, f"ends after {offset + len(data)} of {found.st_size} bytes")
            data += more
        if not was_cached:
            with contextlib.suppress(OSError):
                os.posix_fadvise(fd, offset, 0 if end == found.st_size else end - offset, os.POSIX_FADV_DONTNEED)
        return data
    finally:
        os.close(fd)


def _is_cached(fd: int, offset: int, end: int) -> bool:
    """Whether the range's first, middle and last page are in memory; False where the file system cannot say."""
    probe = bytearray(1)
    try:
        for place in (offset, (offset + end) // 2, end - 1):
            os.preadv(fd, [probe], place, os.RWF_NOWAIT)
    except OSError:
        return False
    return True
