"""A scrub holds a version only while it reads it, and reads what several versions share once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.errors import VersionBusy
from backy_core.reports import Progress
from backy_core.repository import Repository

BLOCK = 4096


def test_shared_chunks_are_read_once(repository: Repository, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(50 * BLOCK))
    for number in range(4):
        with image.open("r+b") as file:
            file.seek(number * BLOCK)
            file.write(os.urandom(BLOCK))
        repository.backup(str(image), "vm-1")
    report = repository.scrub()
    assert len(report.versions) == 4
    assert report.chunks == 53


def test_a_version_can_be_removed_as_soon_as_the_scrub_is_past_it(
    repository: Repository, open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    for volume in ("vm-1", "vm-2"):
        image.write_bytes(os.urandom(300 * BLOCK))
        repository.backup(str(image), volume)
    other = open_repository()
    refused: list[str] = []
    removed: list[str] = []

    def meanwhile(progress: Progress) -> None:
        if removed or progress.done <= 300 * BLOCK:
            if not removed and not refused:
                with pytest.raises(VersionBusy, match="scrub"):
                    other.remove(["vm-1"])
                refused.append("vm-1")
            return
        removed.extend(version.volume for version in other.remove(["vm-1"]).removed)

    report = repository.scrub(progress=meanwhile)
    assert refused, "while it was read"
    assert removed, "as soon as the next one was read"
    assert not report.damage
    assert [version.volume for version in repository.versions()] == ["vm-2"]


def test_a_version_that_went_before_its_turn_is_left_out(
    repository: Repository, open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    for volume in ("vm-1", "vm-2"):
        image.write_bytes(os.urandom(300 * BLOCK))
        repository.backup(str(image), volume)
    other = open_repository()
    gone: list[str] = []

    def meanwhile(_: Progress) -> None:
        if not gone:
            gone.extend(version.uid for version in other.remove(["vm-2"]).removed)
            other.cleanup()

    report = repository.scrub(progress=meanwhile)
    assert gone
    assert [version.volume for version in report.versions] == ["vm-1"]
    assert not report.damage
