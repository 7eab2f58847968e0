"""What is at a restore's target, and which guard answers for it: a new file, an existing one, or a block device."""

from __future__ import annotations

import os
import stat

from backy_core.contracts.target import Target
from backy_core.errors import InvalidInput, TargetError, TargetExists
from backy_io_file.device import DeviceTarget
from backy_io_file.existing import ExistingFile
from backy_io_file.new import NewFile
from backy_io_file.paths import kind_of, path_of, shown
from backy_io_file.usage import same_thing

__all__ = ["open_target"]


def open_target(location: str, size: int, *, force: bool, source: str) -> Target:
    """Open the `file://` URL `location` for a restore of `size` bytes.

    Raises `InvalidInput` (a bad URL), `TargetExists` (without `force`), `TargetInUse` (even with it), `OutOfSpace`, or
    `TargetError`. Nothing at the target has changed when it raises.
    """
    path = path_of(location)
    name = shown(path)
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return NewFile(path, size)
    except OSError as error:
        raise TargetError(f"cannot restore to {name}: {error.strerror}; give another target") from error
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        instead = "give the name of a file in it" if stat.S_ISDIR(found.st_mode) else "give a file or a block device"
        raise TargetError(f"{name} is {kind_of(found.st_mode)}; {instead}")
    if not force:
        raise TargetExists(_refusal(name, found, source))
    if stat.S_ISBLK(found.st_mode):
        return DeviceTarget(path, size)
    return ExistingFile(path, size)


def _refusal(name: str, found: os.stat_result, source: str) -> str:
    kind = "is a block device" if stat.S_ISBLK(found.st_mode) else "exists"
    origin = " and is the very source of this version" if _is_source(found, source) else ""
    return f"{name} {kind}{origin}; give --force to overwrite it"


def _is_source(found: os.stat_result, source: str) -> bool:
    try:
        return same_thing(os.stat(path_of(source)), found)
    except (InvalidInput, OSError):
        return False  # backed up from something that is no file, or is gone
