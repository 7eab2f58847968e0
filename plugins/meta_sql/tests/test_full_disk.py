"""A database on a disk that is full, or that must not be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import oracle
import pytest
import workload
from backy_meta_sql import SqlSettings, open_meta
from backy_meta_sql.reserve import RESERVE_SIZE

from backy_core.contracts.meta import MetaStore
from backy_core.errors import MetaError, OutOfSpace
from backy_core.model import VersionState

pytestmark = pytest.mark.root


@pytest.fixture(params=["ext4", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small disk"
    place.mkdir()
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    else:
        image = tmp_path / "disk.img"
        with image.open("wb") as file:
            file.truncate(24 * 1024 * 1024)
        command = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode:
            pytest.skip("mkfs.ext4 is not there")
        command = ["mount", "-o", "loop", str(image), str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not possible here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def opened(disk: Path, create: bool = False) -> MetaStore:
    meta = open_meta(f"sqlite://{disk}/m.db", SqlSettings(5), create)
    assert meta is not None
    return meta


def fill(disk: Path, name: str = "filler") -> Path:
    """Take every byte that is left."""
    filler = disk / name
    with filler.open("wb", buffering=0) as file:
        for piece in (65536, 4096, 512, 1):
            while True:
                try:
                    if file.write(b"x" * piece) < piece:
                        break
                except OSError:
                    break
    return filler


def with_versions(disk: Path, count: int = 4) -> None:
    import random

    with opened(disk, create=True) as meta:
        meta.initialise(oracle.facts())
        for number in range(count):
            workload.backup(meta, "vm-1", 8, random.Random(number))


def test_a_full_disk_stops_a_backup_cleanly_and_rm_and_cleanup_still_work(disk: Path) -> None:
    import random

    with_versions(disk)
    filler = fill(disk)

    def endless() -> None:
        with opened(disk) as meta:
            for number in range(100):
                workload.backup(meta, f"more {number}", 50, random.Random(number))

    with pytest.raises(OutOfSpace, match=r"no space left for the metadata database .*m\.db: free some"):
        endless()
    with opened(disk) as meta:
        session = meta.open_session("rm")
        before = [v for v in meta.versions() if v.state is VersionState.VALID]
        assert before
        for version in meta.versions():
            if version.state is VersionState.VALID or version.interrupted:
                meta.remove_version(session, version.uid)
                while not meta.purge(session, version.uid, 100).done:
                    pass
        meta.close_session(session)
        session = meta.open_session("cleanup")
        meta.next_generation(session)
        while meta.doom_chunks(session).examined:
            pass
        meta.forget_doomed(session, meta.doomed_keys(meta.generation() + 1))
        meta.close_session(session)
        assert (meta.usage().versions, meta.usage().chunks, meta.usage().map_rows) == (0, 0, 0)
    filler.unlink()
    with opened(disk) as meta:
        workload.backup(meta, "vm-1", 2, random.Random(1))
    assert (disk / "m.db.reserve").stat().st_size == 8 * 1024 * 1024


def test_a_full_disk_can_still_be_listed(disk: Path) -> None:
    with_versions(disk, 1)
    fill(disk)
    with opened(disk) as meta:
        # A little of the reserve was lent: SQLite keeps its shared memory in a file.
        assert 0 < (disk / "m.db.reserve").stat().st_size < RESERVE_SIZE
        assert len(meta.versions()) == 1
        assert len(meta.view(meta.versions()[0], range(500))) > 0


def test_a_full_disk_without_a_reserve_says_so_for_rm_too(disk: Path) -> None:
    with_versions(disk, 1)
    with opened(disk) as meta:
        meta.view(meta.versions()[0], [0])
        (disk / "m.db.reserve").unlink()
        fill(disk)

        def endless() -> None:
            for _ in range(200):
                meta.close_session(meta.open_session("rm"))

        with pytest.raises(OutOfSpace, match="no space left"):
            endless()


def test_a_database_is_not_made_on_a_full_disk(disk: Path) -> None:
    fill(disk)
    with pytest.raises(OutOfSpace, match="no space left"):
        opened(disk, create=True)


def test_a_read_only_disk_is_refused_with_a_reason(disk: Path) -> None:
    with_versions(disk, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    def write() -> None:
        with opened(disk) as meta:
            meta.open_session("backup")

    with pytest.raises(MetaError, match="check its owner and mode") as caught:
        write()
    assert not caught.value.again
    with pytest.raises(MetaError, match="refused"):
        open_meta(f"sqlite://{disk}/other.db", SqlSettings(5), True)
