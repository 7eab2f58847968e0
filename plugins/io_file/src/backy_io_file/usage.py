"""Who is using a file or block device: mounts, LVM and its like, swap, loop devices, other programs' locks."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from backy_io_file.paths import shown

__all__ = ["device_user", "file_user", "lock_user", "same_thing"]


def same_thing(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two paths lead to the same file, or to the same device under whatever names."""
    if stat.S_ISBLK(one.st_mode) and stat.S_ISBLK(other.st_mode):
        return one.st_rdev == other.st_rdev
    return os.path.samestat(one, other)


def device_user(number: int) -> str | None:
    """What uses the block device `number` or a partition of it ("mounted on /mnt"), or None when nothing seems to.

    It is there to say who; what it does not see (another mount namespace), an exclusive open meets as EBUSY.
    """
    names = _with_partitions(number)
    for path, where in _mounts():
        device = path if isinstance(path, int) else _device_at(path)
        if device in names:
            return f"{names[device]}mounted on {shown(where)}"
    for device, name in names.items():
        folder = _sys_folder(device) / "holders"
        holders = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        if holders:
            return f"{name}part of {', '.join(holders)}"
    for swap in _swaps():
        device = _device_at(swap)
        if device in names:
            return f"{names[device]}in use as swap"
    for backing, loop in _loops():
        device = _device_at(backing)
        if device in names:
            return f"{names[device]}attached to /dev/{loop}"
    return None


def file_user(found: os.stat_result) -> str | None:
    """What uses this regular file ("attached to /dev/loop0", "in use as swap"), or None."""
    for backing, loop in _loops():
        if _is_same_file(backing, found):
            return f"attached to /dev/{loop}"
    for swap in _swaps():
        if _is_same_file(swap, found):
            return "in use as swap"
    return None


def lock_user(descriptor: int) -> str | None:
    """Whether another process holds a record lock on this open file, as QEMU does on the image of a running guest."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return "locked by another program (a running guest?)"
        return None  # a file system without locks has no lock to show
    fcntl.lockf(descriptor, fcntl.LOCK_UN)
    return None


def _sys_folder(device: int) -> Path:
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")


def _with_partitions(device: int) -> dict[int, str]:
    """The device and its partitions, each with the words that say which one it is."""
    names = {device: ""}
    folder = _sys_folder(device)
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if (entry / "partition").is_file():
                names[_number((entry / "dev").read_text(encoding="ascii").strip())] = f"its partition {entry.name} is "
    return names


def _number(text: str) -> int:
    major, minor = text.split(":")
    return os.makedev(int(major), int(minor))


def _mounts() -> Iterator[tuple[int | str, str]]:
    """Of every mount its device (a number, or the path that was mounted) and its place."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        where = _unescaped(fields[4])
        yield _number(fields[2]), where
        # btrfs gives its mounts a number that belongs to no device; the path tells.
        mounted = _unescaped(fields[fields.index("-", 6) + 2])
        if mounted.startswith("/dev/"):
            yield mounted, where


def _swaps() -> Iterator[str]:
    lines = Path("/proc/swaps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for line in lines[1:]:
        yield _unescaped(line.split()[0])


def _loops() -> Iterator[tuple[str, str]]:
    """Of every attached loop device the path of its backing file and its name."""
    for entry in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        try:
            backing = entry.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n")
        except OSError:
            continue  # detached since it was listed
        yield backing, entry.parent.parent.name


def _unescaped(field: str) -> str:
    """A field of a /proc table as it is, with its spaces and newlines back."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _device_at(path: str) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_rdev if stat.S_ISBLK(found.st_mode) else None


def _is_same_file(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), found)
    except OSError:
        return False
