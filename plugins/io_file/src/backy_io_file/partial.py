"""The hidden file a restore writes first: made fresh, locked for as long as its process lives, taken from the dead."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from backy_core.errors import TargetError, TargetInUse
from backy_io_file.paths import kind_of, shown

__all__ = ["claim", "lock"]

_ATTEMPTS = 100
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


def claim(directory: int, name: str, *, folder: str) -> int:
    """Make the file `name` in an open directory, empty and locked; its descriptor. `folder` is for the messages.

    What a killed restore left under that name is removed first, never written into: it may have a second name by now
    (killed between linking and unlinking), or a stranger may have put it there and hold it open. `TargetInUse`: a
    living restore has it.
    """
    path = shown(os.path.join(folder, name))
    try:
        for _ in range(_ATTEMPTS):
            try:
                descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
            except FileExistsError:
                _remove_leftover(directory, name, path)
                continue
            is_ours = False
            try:
                is_ours = _locked_and_named(descriptor, directory, name, path)
            finally:
                if not is_ours:  # somebody took it for a leftover before it was locked
                    os.close(descriptor)
            if is_ours:
                return descriptor
    except OSError as error:
        raise TargetError(f"cannot write in {shown(folder)}: {error.strerror}; give another target") from error
    raise TargetInUse(f"{path} is made and removed all the time by other restores; restore to another target")


def lock(descriptor: int, path: str) -> None:
    """Take the exclusive lock that the kernel gives back when this process dies; `TargetInUse` when another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TargetInUse(f"another restore is writing {path}; wait for it or give another target") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # without locks at all a restore is still better than none
            raise


def _remove_leftover(directory: int, name: str, path: str) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else kind_of(found.st_mode)
            raise TargetError(f"{path} is in the way and is {kind}; remove it")
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        if _locked_and_named(descriptor, directory, name, path):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(descriptor)


def _locked_and_named(descriptor: int, directory: int, name: str, path: str) -> bool:
    """Lock the file, and say whether it still has its name: its last owner may have finished just before."""
    try:
        lock(descriptor, path)
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
