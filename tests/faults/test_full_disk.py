"""A full disk under the store, the database or the target: one clear line, nothing lost, and space can be freed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

BLOCK = 65536
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Mounts real ext4 file systems of a few MiB, none of it kept back for root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    mounted: list[Path] = []

    def make(name: str, size: int) -> Path:
        image, where = tmp_path / f"{name}.ext4", tmp_path / name
        where.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        tried = subprocess.run(
            ["mount", "-o", "loop", str(image), str(where)], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"cannot mount here: {tried.stderr.strip()}")
        mounted.append(where)
        return where

    yield make
    for where in reversed(mounted):
        subprocess.run(["umount", str(where)], check=True)


def fill(where: Path) -> Path:
    """Use up what is left of the disk, to the last block."""
    filler = where / "filler"
    with filler.open("wb", buffering=0) as file:
        for length in (MIB, 4096, 512):
            try:
                while file.write(bytes(length)) == length:
                    pass
            except OSError:
                continue
        os.fsync(file.fileno())
    return filler


def one_line(err: str) -> str:
    """The only line an operator sees; no traceback, no wall of text."""
    lines = [line for line in err.splitlines() if "backy: error:" in line]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert len(lines[0]) < 400
    return lines[0]


def restores(place: SimpleNamespace, uid_or_volume: str, expected: bytes) -> None:
    target = place.base / "check.img"
    target.unlink(missing_ok=True)
    done = place.run("restore", uid_or_volume, str(target))
    assert done.code == 0, done.err
    assert target.read_bytes() == expected


def test_a_full_store_says_so_loses_nothing_and_can_be_freed(
    place: SimpleNamespace, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk("disk", 48 * MIB)
    store = disk / "store"
    place.init("--block-size", str(BLOCK), store=store)
    image = place.base / "disk.img"
    first = os.urandom(200 * BLOCK)
    image.write_bytes(first)
    assert place.run("backup", str(image), "vm-1").code == 0
    image.write_bytes(os.urandom(800 * BLOCK))
    done = place.run("backup", str(image), "vm-2")
    assert done.code == 12, done.err
    assert str(store) in one_line(done.err)
    place.check(store=store)
    restores(place, "vm-1", first)

    fill(disk)
    done = place.run("backup", str(image), "vm-2")
    assert done.code == 12, done.err
    one_line(done.err)
    restores(place, "vm-1", first)

    # Now free space on a disk without a single free block.
    assert place.run("rm", "vm-1").code == 0
    done = place.run("cleanup")
    assert done.code == 0, done.err
    place.check(store=store)
    image.write_bytes(first[: 100 * BLOCK])
    done = place.run("backup", str(image), "vm-2")
    assert done.code == 0, done.err
    restores(place, "vm-2", first[: 100 * BLOCK])
    assert place.run("cleanup").code == 0
    place.check(clean=True, store=store)


def test_a_full_database_disk_says_so_loses_nothing_and_can_be_freed(
    place: SimpleNamespace, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk("disk", 24 * MIB)
    database = disk / "metadata.sqlite"
    place.init("--block-size", "4096", database=database)
    image = place.base / "disk.img"
    first = os.urandom(500 * 4096)
    image.write_bytes(first)
    assert place.run("backup", str(image), "vm-1").code == 0
    filler = fill(disk)
    image.write_bytes(os.urandom(20_000 * 4096))
    done = place.run("backup", str(image), "vm-2")
    assert done.code == 12, done.err
    assert str(database) in one_line(done.err)
    restores(place, "vm-1", first)
    done = place.run("rm", "vm-1")
    assert done.code == 0, done.err
    done = place.run("cleanup")
    assert done.code == 0, done.err
    filler.unlink()
    image.write_bytes(first)
    assert place.run("backup", str(image), "vm-2").code == 0
    restores(place, "vm-2", first)
    assert place.run("cleanup").code == 0
    place.check(clean=True, database=database)


def test_store_and_database_on_one_full_disk_can_be_freed(
    place: SimpleNamespace, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk("disk", 64 * MIB)
    store, database = disk / "store", disk / "metadata.sqlite"
    place.init("--block-size", str(BLOCK), store=store, database=database)
    image = place.base / "disk.img"
    contents = {}
    for volume, blocks in (("vm-1", 400), ("vm-2", 100)):
        contents[volume] = os.urandom(blocks * BLOCK)
        image.write_bytes(contents[volume])
        assert place.run("backup", str(image), volume).code == 0
    fill(disk)
    image.write_bytes(os.urandom(100 * BLOCK))
    done = place.run("backup", str(image), "vm-3")
    assert done.code == 12, done.err
    one_line(done.err)
    assert place.run("ls").code == 0
    restores(place, "vm-2", contents["vm-2"])
    assert place.run("rm", "vm-1").code == 0
    done = place.run("cleanup")
    assert done.code == 0, done.err
    restores(place, "vm-2", contents["vm-2"])
    done = place.run("backup", str(image), "vm-3")
    assert done.code == 0, done.err
    restores(place, "vm-3", image.read_bytes())


@pytest.mark.parametrize("room", ["some room", "no room at all"])
def test_a_full_target_says_so_and_is_never_called_restored(
    place: SimpleNamespace, small_disk: Callable[[str, int], Path], room: str
) -> None:
    disk = small_disk("disk", 16 * MIB)
    place.init("--block-size", str(BLOCK))
    image = place.base / "disk.img"
    image.write_bytes(os.urandom(400 * BLOCK))
    assert place.run("backup", str(image), "vm-1").code == 0
    target = disk / "out.img"
    if room == "no room at all":
        fill(disk)
    done = place.run("restore", "vm-1", str(target))
    assert done.code == 12, done.err
    assert str(target) in one_line(done.err)
    assert not target.exists()
    restores(place, "vm-1", image.read_bytes())


def test_a_store_too_full_for_a_manifest_or_a_tag_can_be_freed(
    place: SimpleNamespace, small_disk: Callable[[str, int], Path]
) -> None:
    """Everything is decided, its fence is put from the reserve, and then the manifest itself does not fit."""
    disk = small_disk("disk", 40 * MIB)
    store = disk / "store"
    place.init("--block-size", str(BLOCK), store=store)
    image = place.base / "disk.img"
    contents = {}
    for volume in ("vm-1", "vm-2", "vm-3"):
        contents[volume] = os.urandom(100 * BLOCK)
        image.write_bytes(contents[volume])
        assert place.run("backup", str(image), volume).code == 0
    filler = fill(disk)
    for arguments in (
        ["backup", str(image), "vm-3"],
        ["tag", "vm-2", "--add", "later"],
        ["backup", str(image), "vm-4"],
    ):
        done = place.run(*arguments)
        assert done.code == 12, done.err
        assert str(store) in one_line(done.err)
        place.check(store=store)
        # Full to the last block again, whatever was given back.
        filler.rename(disk / f"filler-{arguments[0]}-{arguments[-1]}".replace("/", "-"))
        filler = fill(disk)
    restores(place, "vm-2", contents["vm-2"])
    done = place.run("rm", "vm-1")
    assert done.code == 0, done.err
    done = place.run("cleanup")
    assert done.code == 0, done.err
    place.check(store=store)
    done = place.run("backup", str(image), "vm-3")
    assert done.code == 0, done.err
    restores(place, "vm-3", contents["vm-3"])
    restores(place, "vm-2", contents["vm-2"])
    done = place.run("ls", "--json")
    states = [(one["volume"], one["state"]) for one in json.loads(done.out)["versions"]]
    # What could not be put for want of room was put when there was some: nothing that was decided is forgotten.
    assert states.count(("vm-3", "valid")) == 3
    assert place.run("check-database").code == 0
    assert place.run("cleanup").code == 0
    place.check(clean=True, store=store)
