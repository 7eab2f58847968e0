"""Targets pass the contract as new files, existing files and block devices, with and without fallocate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from backy_io_file import open_target

from backy_core.contracts.target import Target
from backy_core.testing.io import TargetConformance, TargetPlace

Url = Callable[[Path | str], str]
Loop = Callable[..., str]
Mount = Callable[..., Path]
MIB = 1 << 20


def new_file(path: Path, location: str) -> TargetPlace:
    def open_it(size: int) -> Target:
        path.unlink(missing_ok=True)
        return open_target(location, None, size, False, "")

    return TargetPlace(open_it, lambda size: path.read_bytes() if path.exists() else None)


class TestNewFile(TargetConformance):
    @pytest.fixture
    def place(self, folder: Path, url: Url) -> TargetPlace:
        return new_file(folder / "disk ?#.img", url(folder / "disk ?#.img"))


class TestNewFileWhereNothingCanBeFreed(TargetConformance):
    @pytest.fixture
    def place(self, mount: Mount, url: Url) -> TargetPlace:
        path = mount("ramfs", "none") / "disk.img"
        return new_file(path, url(path))


class TestExistingFile(TargetConformance):
    @pytest.fixture
    def place(self, folder: Path, url: Url) -> TargetPlace:
        path = folder / "disk.img"
        path.write_bytes(b"\xff" * 9 * MIB)
        return TargetPlace(lambda size: open_target(url(path), None, size, True, ""), lambda size: path.read_bytes())


class TestDevice(TargetConformance):
    can_hide = False

    @pytest.fixture
    def place(self, folder: Path, url: Url, loop: Loop) -> TargetPlace:
        return device(folder / "disk.img", url, loop)


class TestDeviceWithSectorsOfFourKibibytes(TargetConformance):
    can_hide = False

    @pytest.fixture
    def place(self, folder: Path, url: Url, loop: Loop) -> TargetPlace:
        return device(folder / "disk.img", url, loop, "--sector-size", "4096")


class TestDeviceWhereNothingCanBeFreed(TargetConformance):
    can_hide = False

    @pytest.fixture
    def place(self, mount: Mount, url: Url, loop: Loop) -> TargetPlace:
        return device(mount("ramfs", "none") / "disk.img", url, loop)


def device(backing: Path, url: Url, loop: Loop, *options: str) -> TargetPlace:
    """A device full of old bytes, twice as large as any restore here, of which the second half must not change."""
    old = b"\xff" * 8 * MIB
    backing.write_bytes(old + old)
    location = url(loop(backing, *options))

    def read(size: int) -> bytes:
        content = backing.read_bytes()
        assert content[8 * MIB :] == old, "bytes behind the version's end were changed"
        return content[:size]

    return TargetPlace(lambda size: open_target(location, None, size, True, ""), read)
