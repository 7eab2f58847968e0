"""Finds the objects, and the unfinished ones, below a store's root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from backy_core.builtin.posix_files import TMP
from backy_core.builtin.reserve import RESERVE_NAME
from backy_core.contracts.store import KEY_PATTERN, MAX_KEY_LENGTH, ObjectInfo

__all__ = ["leftovers", "walk"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TEMPORARY = re.compile(r"(?P<key>.+)\.[0-9a-f]{16}")


def walk(root: int, prefix: str) -> Iterator[ObjectInfo]:
    """Every regular file below `root` whose relative path is a legal key and starts with `prefix`.

    What has another name (`lost+found`, `.nfs...`), the reserve and `tmp/` are passed over. Holds no file open while
    the caller works.
    """
    start, _, first = prefix.rpartition("/")
    if "/" in prefix and not re.fullmatch(KEY_PATTERN, start):
        return
    folders = [start]
    while folders:
        folder = folders.pop()
        objects, inner = _scan(root, folder, first)
        first = ""
        folders += inner
        yield from objects


def _scan(root: int, folder: str, first: str) -> tuple[Sequence[ObjectInfo], Sequence[str]]:
    """The objects and the folders in `folder` whose names start with `first`; none when it is not there."""
    if folder.partition("/")[0] == TMP:
        return (), ()
    try:
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return (), ()
    # By name, because a network file system may show a name twice while the folder changes.
    objects: dict[str, ObjectInfo] = {}
    inner: set[str] = set()
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if not entry.name.startswith(first) or not _NAME.fullmatch(entry.name) or len(key) > MAX_KEY_LENGTH:
                    continue
                try:
                    if entry.is_dir():
                        inner.add(key)
                    elif entry.is_file(follow_symlinks=False) and key != RESERVE_NAME:
                        objects[key] = ObjectInfo(key, entry.stat(follow_symlinks=False).st_size)
                except FileNotFoundError:  # deleted meanwhile
                    continue
    finally:
        os.close(fd)
    return tuple(objects.values()), sorted(inner, reverse=True)


def leftovers(root: int, keys: Sequence[str]) -> dict[str, list[str]]:
    """The temporary files that writers of these keys left in `tmp/`, by key, as paths relative to `root`."""
    try:
        fd = os.open(TMP, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return {}
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    wanted = {key.replace("/", "%"): key for key in keys}
    found: dict[str, list[str]] = {}
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        if match and match["key"] in wanted:
            found.setdefault(wanted[match["key"]], []).append(f"{TMP}/{name}")
    return found
