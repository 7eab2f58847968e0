"""A restore over a block device, by force: refused while anything uses it, never a byte beyond its size."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from backy_core.errors import TargetError, TargetInUse
from backy_io_file.paths import shown
from backy_io_file.usage import device_user, lock_user
from backy_io_file.writing import OpenTarget

__all__ = ["DeviceTarget"]

_BLKSSZGET = 0x1268
_PAGE = 4096


class DeviceTarget(OpenTarget):
    """A block device, held exclusively. What it has beyond the version's size stays as it is."""

    starts_zeroed = False

    def __init__(self, path: str, size: int) -> None:
        name = shown(path)
        number = os.stat(path).st_rdev
        user = device_user(number)
        if user:
            raise TargetInUse(_in_use(name, user))
        if _is_read_only(number):
            raise TargetError(f"{name} is read-only; make it writable (blockdev --setrw) or give another target")
        descriptor = _open(path, name)
        try:
            found = os.fstat(descriptor)
            if not (stat.S_ISBLK(found.st_mode) and found.st_rdev == number):
                raise TargetError(f"{name} was replaced while it was opened; restore again")
            user = lock_user(descriptor)
            if user:
                raise TargetInUse(_in_use(name, user))
            room = os.lseek(descriptor, 0, os.SEEK_END)
            if room < size:
                raise TargetError(f"{name} is too small: it has {room} bytes, the version needs at least {size}")
            # fallocate on a device wants whole sectors, and whole pages keep it off pages other threads write to.
            sector = int.from_bytes(fcntl.ioctl(descriptor, _BLKSSZGET, bytes(4)), "little")
        except BaseException:
            os.close(descriptor)
            raise
        super().__init__(descriptor, path, size, unit=max(_PAGE, sector), one_writer=False)

    def finish(self) -> None:
        """Make the data durable."""
        self._make_durable()
        self._close()

    def abandon(self) -> None:
        """Give the device back; what was written is on it, and only the exit code tells that it is not all."""
        self._close()


def _in_use(name: str, user: str) -> str:
    is_user = user if user.startswith("its partition") else f"it is {user}"
    return f"{name} is in use: {is_user}; release it or give another target"


def _is_read_only(number: int) -> bool:
    flag = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/ro")
    return flag.is_file() and flag.read_text(encoding="ascii").strip() == "1"


def _open(path: str, name: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise TargetInUse(_in_use(name, "held by the kernel or another restore (lsblk tells)")) from error
        raise TargetError(f"cannot open {name} for writing: {error.strerror}; give another target") from error
