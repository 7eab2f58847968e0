"""A regular file or block device, open for a backup that leaves the page cache as it found it."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator

from backy_core.contracts.source import Source
from backy_core.errors import NotFound, SourceError
from backy_core.model import Extent
from backy_io_file.paths import kind_of, location_of, path_of, shown

__all__ = ["FileSource"]

log = logging.getLogger(__name__)

_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)
_INSTEAD = {
    stat.S_IFDIR: "give a disk image in it",
    stat.S_IFIFO: "write the data to a file first",
    stat.S_IFSOCK: "give the image or device behind it",
    stat.S_IFCHR: "give the block device",
}


class FileSource(Source):
    """The file at a `file://` URL. It never has an `identity`: anybody may write to it.

    Raises `InvalidInput` (a bad URL), `NotFound`, or `SourceError` (not a file or block device, not readable).
    """

    def __init__(self, location: str) -> None:
        self._path = path_of(location)
        self._shown = shown(self._path)
        self.location = location_of(self._path)
        self._descriptor = _open(self._path, self._shown)
        try:
            self._opened = os.fstat(self._descriptor)
            _refuse_kind(self._opened.st_mode, self._shown)
            self._is_device = stat.S_ISBLK(self._opened.st_mode)
            self.size = self._measure()
            # Without this the kernel reads ahead, and the test for "was cached before us" finds our own read-ahead.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        except OSError as error:
            os.close(self._descriptor)
            raise SourceError(f"cannot read {self._shown}: {error.strerror}") from error
        except SourceError:
            os.close(self._descriptor)
            raise
        self._no_wait = _NO_WAIT

    def _measure(self) -> int:
        if self._is_device:
            return os.lseek(self._descriptor, 0, os.SEEK_END)
        if not self._opened.st_size and os.pread(self._descriptor, 1, 0):
            raise SourceError(f"{self._shown} has content but no size (a /proc file?); copy it to a file first")
        return self._opened.st_size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset`. Pages that were not cached before are not cached afterwards either."""
        view = buffer.cast("B")
        end = offset + len(view)
        if offset < 0 or end > self.size:
            raise SourceError(f"{self._shown} has {self.size} bytes; bytes {offset} to {end} are not all in it")
        filled = self._read_cached(offset, view)
        if filled < len(view):
            uncached = filled
            try:
                self._read_rest(offset, view, filled)
            finally:
                os.posix_fadvise(self._descriptor, offset + uncached, len(view) - uncached, os.POSIX_FADV_DONTNEED)
        self._refuse_changed_size()

    def _read_cached(self, offset: int, view: memoryview) -> int:
        """Read what is in the page cache without touching the disk; how many bytes that were."""
        if not self._no_wait or not view:
            return 0
        try:
            return os.preadv(self._descriptor, [view], offset, self._no_wait)
        except BlockingIOError:
            return 0
        except (OSError, NotImplementedError):
            # Some file systems refuse the flag. A real read error shows itself again in the plain read.
            self._no_wait = 0
            return 0

    def _read_rest(self, offset: int, view: memoryview, filled: int) -> None:
        while filled < len(view):
            try:
                count = os.preadv(self._descriptor, [view[filled:]], offset + filled)
            except OSError as error:
                raise SourceError(
                    f"cannot read {self._shown} at byte {offset + filled}: {error.strerror}; "
                    "check the disk (dmesg, smartctl) and back up again"
                ) from error
            if not count:
                raise SourceError(
                    f"{self._shown} ends at byte {offset + filled}, it had {self.size} bytes when it was opened; "
                    "back up a snapshot of it, or while nothing shrinks it"
                )
            filled += count

    def data_extents(self) -> Iterator[Extent]:
        """The allocated ranges of a regular file, found while they are asked for; a block device is one extent."""
        if self._is_device:
            yield from super().data_extents()
            return
        end = 0
        while end < self.size:
            start = self._seek(end, os.SEEK_DATA)
            if start >= self.size:
                break
            end = min(self._seek(start, os.SEEK_HOLE), self.size)
            yield Extent(start, end - start)
        # A file cut short looks like one that ends in a hole; taken for that, its lost end would be stored as zeros.
        self._refuse_changed_size()

    def _seek(self, offset: int, whence: int) -> int:
        """Where the next data or hole begins; without support in the file system everything is data."""
        try:
            return os.lseek(self._descriptor, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing more of it before the end
                return self.size
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return offset if whence == os.SEEK_DATA else self.size
            raise SourceError(
                f"cannot find the holes of {self._shown} at byte {offset}: {error.strerror}; check the file system"
            ) from error

    def _refuse_changed_size(self) -> None:
        if self._is_device:
            return
        now = os.fstat(self._descriptor).st_size
        if now != self.size:
            raise SourceError(
                f"{self._shown} changed its size from {self.size} to {now} bytes while it was read; "
                "back up a snapshot of it, or while nothing writes to it"
            )

    def close(self) -> None:
        """Close the file; say in the log when somebody wrote to it meanwhile, because such a backup is a mixture."""
        try:
            now = os.fstat(self._descriptor)
            changed = (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns)
            if changed and not self._is_device:
                log.warning(
                    "%s was written to while it was read: the backup mixes old and new; back up a snapshot of it",
                    self._shown,
                )
        finally:
            os.close(self._descriptor)


def _open(path: str, name: str) -> int:
    try:
        # Looked at before it is opened: opening a pipe waits, and opening some devices does something (tape, watchdog).
        _refuse_kind(os.stat(path).st_mode, name)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no such file or device: {name}") from error
    except PermissionError as error:
        raise SourceError(f"{name} may not be read by this user; run as root or as a member of its group") from error
    except OSError as error:
        raise SourceError(f"cannot open {name}: {error.strerror}") from error


def _refuse_kind(mode: int, name: str) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        instead = _INSTEAD.get(stat.S_IFMT(mode), "give a disk image or a block device")
        raise SourceError(f"{name} is {kind_of(mode)}, not a disk image or block device; {instead}")
