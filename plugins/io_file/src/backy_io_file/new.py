"""A restore to a new file: written under a hidden name beside it, and renamed when all of it is durable."""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from backy_core.errors import TargetError, TargetExists
from backy_io_file.kernel import rename_without_replacing
from backy_io_file.partial import claim
from backy_io_file.paths import shown
from backy_io_file.writing import OpenTarget

__all__ = ["NewFile"]

log = logging.getLogger(__name__)

_SUFFIX = ".backy-partial"
_CANNOT = frozenset({errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class NewFile(OpenTarget):
    """A file that nobody sees under its name before it is complete. Readable by its owner only, as it may be secret."""

    starts_zeroed = True

    def __init__(self, path: str, size: int) -> None:
        folder, self._name = os.path.split(path)
        self._partial = f".{self._name}{_SUFFIX}"
        self._folder = _open_folder(path, folder, self._name, self._partial)
        try:
            descriptor = claim(self._folder, self._partial, folder=folder)
        except BaseException:
            os.close(self._folder)
            raise
        super().__init__(descriptor, path, size, unit=1, one_writer=True)
        self._partial_shown = shown(os.path.join(folder, self._partial))
        self._keep = False
        try:
            os.ftruncate(descriptor, size)
        except OSError as error:
            self.abandon()
            raise self._failed("make room in", error, size) from error

    def finish(self) -> None:
        """Make the file durable, then let it appear under its name; never over something that appeared meanwhile."""
        self._make_durable()
        if not self._is_ours(self._partial):
            raise TargetError(f"{self._partial_shown} vanished while it was written; restore again")
        try:
            self._appear()
        except FileExistsError as error:
            self._keep = True
            raise TargetExists(
                f"{self._shown} appeared during the restore and was left alone; "
                f"the restored data is complete in {self._partial_shown}: rename it"
            ) from error
        except OSError as error:
            self._keep = True
            raise TargetError(
                f"{self._shown} cannot get its name: {error.strerror}; "
                f"the restored data is complete in {self._partial_shown}: rename it"
            ) from error
        self._keep = True
        try:
            os.fsync(self._folder)
        except OSError as error:
            raise TargetError(
                f"{self._shown} is restored, but its name may not outlive a power cut: {error.strerror}; run sync"
            ) from error
        self._close()

    def _appear(self) -> None:
        try:
            self._take_name()
        except FileExistsError:
            # NFS repeats a call whose answer was lost, and then finds its own work in the way.
            if not self._is_ours(self._name):
                raise
        if not self._is_ours(self._partial):
            return
        try:
            os.unlink(self._partial, dir_fd=self._folder)
        except OSError as error:
            log.warning("%s is a second name of %s; remove it: %s", self._partial_shown, self._shown, error.strerror)

    def _take_name(self) -> None:
        folder = self._folder
        try:
            rename_without_replacing(folder, self._partial, self._name)
            return
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        try:
            os.link(self._partial, self._name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            return
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        # A file system with neither (exFAT, some FUSE ones) has no atomic way; looking leaves a gap of microseconds.
        with contextlib.suppress(FileNotFoundError):
            os.stat(self._name, dir_fd=folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(self._partial, self._name, src_dir_fd=folder, dst_dir_fd=folder)

    def _is_ours(self, name: str) -> bool:
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def abandon(self) -> None:
        """Remove what was written, unless it is complete and only its name was refused."""
        if self._descriptor < 0:
            return
        try:
            if not self._keep and self._is_ours(self._partial):
                os.unlink(self._partial, dir_fd=self._folder)
        except OSError as error:
            log.warning("could not remove %s: %s", self._partial_shown, error.strerror)
        finally:
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._folder)
        super()._close()


def _open_folder(path: str, folder: str, name: str, partial: str) -> int:
    if not name:
        raise TargetError(f"{shown(path)} names a directory that does not exist; give the name of a file")
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TargetError(f"the directory {shown(folder)} does not exist; make it first") from error
    except NotADirectoryError as error:
        raise TargetError(f"{shown(folder)} is not a directory; give another target") from error
    except OSError as error:
        raise TargetError(f"cannot open the directory {shown(folder)}: {error.strerror}") from error
    try:
        longest = os.fpathconf(descriptor, "PC_NAME_MAX")
        over = len(os.fsencode(partial)) - longest
        if over > 0:
            raise TargetError(f"the name {shown(name)} is too long to restore to; make it {over} bytes shorter")
        if os.path.islink(path):
            raise TargetError(f"{shown(path)} is a symbolic link to nothing; remove it or give the file it should name")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
