"""The directory store on file systems that are really full: ext4 on a loop device, and tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.builtin.reserve import RESERVE_SIZE
from backy_core.errors import OutOfSpace

pytestmark = pytest.mark.root

KIB = 1024


@pytest.fixture(params=["ext4", "tmpfs"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system, mounted; it has a kind in `request.param`, or that and an option of mkfs."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    kind, *options = str(request.param).split()
    point = tmp_path / "a mount point"
    point.mkdir()
    if kind == "ext4":
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(24 * KIB * KIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", *options, str(image)], check=True, timeout=60)
        command = ["mount", "-o", "loop", str(image), str(point)]
    else:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(point)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode:
        pytest.skip(f"cannot mount here: {result.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True, timeout=60)


@pytest.fixture(params=["anonymous", "named"])
def open_again(mounted: Path, request: pytest.FixtureRequest) -> Callable[[], PosixStore]:
    root = str(mounted / "store")
    anonymous = request.param == "anonymous"
    with PosixStore(f"file://{root}", root, create=True, anonymous=anonymous) as store:
        # The folders exist already, as in any store that has filled its disk.
        store.put("c/aa/first", [b"first"])
        store.put("gens/0", [b"0"])
        store.sync()
    return lambda: PosixStore(f"file://{root}", root, anonymous=anonymous, pending_objects=50)


def free(mounted: Path) -> int:
    found = os.statvfs(mounted)
    return found.f_bavail * found.f_frsize


def fill(mounted: Path, leave: int) -> None:
    """Leave that many bytes free, to the block."""
    filler = mounted / "filler"
    with filler.open("ab", buffering=0) as file:
        piece = bytes(64 * KIB)
        try:
            while True:
                if file.write(piece) < len(piece):
                    piece = bytes(max(512, len(piece) // 2))
        except OSError:
            pass
        os.fsync(file.fileno())
        if leave:
            # Truncating frees blocks only after a commit.
            file.truncate(max(0, file.tell() - leave))
            os.fsync(file.fileno())
    os.sync()


def holds_together(store: PosixStore, wanted: dict[str, bytes]) -> None:
    assert {info.key: info.size for info in store.list()} == {key: len(data) for key, data in wanted.items()}
    for key, data in wanted.items():
        assert store.get(key) == data


@pytest.mark.parametrize("urgent_size", [200, 20_000])
def test_at_every_fill_level_near_the_end_a_put_is_whole_or_refused_and_an_urgent_one_succeeds(
    mounted: Path, open_again: Callable[[], PosixStore], urgent_size: int
) -> None:
    outcomes = set()
    wanted = {"c/aa/first": b"first", "gens/0": b"0"}
    levels = [*range(0, 48, 4), *range(48, 260, 12)]
    for turn, leave in enumerate(levels):
        with open_again() as store:
            fill(mounted, leave * KIB)
            before = free(mounted)
            key, data = f"c/aa/usual-{turn}", os.urandom(150_000)
            try:
                store.put(key, [data[:70_000], data[70_000:]])
                store.sync()
                outcomes.add("stored")
                wanted[key] = data
            except OutOfSpace as error:
                outcomes.add("refused")
                message = str(error)
                assert message.startswith("no space left in the store")
                assert "\n" not in message
                assert key in message
                os.sync()
                assert free(mounted) >= before - 4 * KIB  # nothing stays behind (ext4 may keep a folder's new block)
                assert list((mounted / "store" / "tmp").glob("*")) == []
            holds_together(store, wanted)

            assert (mounted / "store" / "reserve").exists()
            urgent = f"gens/{turn + 1}"
            wanted[urgent] = os.urandom(urgent_size)
            store.put(urgent, [wanted[urgent]], urgent=True)
            store.sync()
            holds_together(store, wanted)

        (mounted / "filler").unlink()
        os.sync()
        with open_again() as store:
            assert not store.delete([key])
            wanted.pop(key, None)
            holds_together(store, wanted)
            assert (mounted / "store" / "reserve").stat().st_blocks * 512 >= RESERVE_SIZE
    assert outcomes == {"stored", "refused"}


@pytest.mark.parametrize("mounted", ["ext4"], indirect=True)
def test_objects_without_bytes_meet_the_full_disk_at_the_link_and_leave_nothing(
    mounted: Path, open_again: Callable[[], PosixStore]
) -> None:
    """Only their names need space: a new block of the folder."""
    with open_again() as store:
        fill(mounted, 0)
        before = {info.key for info in store.list()}
        put = [f"c/aa/{'n' * 150}-{number}" for number in range(300)]
        with pytest.raises(OutOfSpace) as caught:  # noqa: PT012 - any of them
            for key in put:
                store.put(key, [])
        assert "\n" not in str(caught.value)
        with pytest.raises(OutOfSpace):  # also who syncs after a batch was lost in a put is told
            store.sync()
        # Batches that still found room are there, each as a whole; of the one that did not, no name is left.
        there = {info.key for info in store.list()} - before
        assert there == set(put[: len(there) // 50 * 50])
        assert len(there) < len(put)
        assert list((mounted / "store" / "tmp").glob("*")) == []
        # No urgent object is refused, however many names the folder still needs.
        for number in range(60):
            store.put(f"gens/{'u' * 150}-{number}", [b"u"], urgent=True)
        assert len([*store.list("gens/u")]) == 60


@pytest.mark.parametrize("mounted", ["ext4 -N 32"], indirect=True)
def test_a_file_system_without_inodes_is_full_and_the_reserve_holds_one(
    mounted: Path, open_again: Callable[[], PosixStore]
) -> None:
    with open_again() as store:
        with pytest.raises(OutOfSpace) as caught:  # noqa: PT012 - how many inodes there are is the file system's choice
            for attempt in range(100):
                store.put(f"c/aa/{attempt}", [b"x"])
        number = attempt
        assert "\n" not in str(caught.value)
        store.sync()
        assert len([*store.list("c/aa/")]) == number + 1  # and c/aa/first
        store.put("gens/1", [b"1"], urgent=True)
        with pytest.raises(OutOfSpace):
            store.put("gens/2", [b"2"], urgent=True)
        assert not store.delete([f"c/aa/{other}" for other in range(number)])
        assert (mounted / "store" / "reserve").exists()
        store.put("gens/2", [b"2"], urgent=True)
        assert store.get("gens/1") + store.get("gens/2") == b"12"


def test_without_room_for_the_reserve_no_store_is_made(mounted: Path) -> None:
    fill(mounted, 256 * KIB)
    root = str(mounted / "new")
    with pytest.raises(OutOfSpace) as caught:
        PosixStore(f"file://{root}", root, create=True)
    assert "reserve" in str(caught.value)
    assert os.listdir(root) == []


def test_an_unmount_is_refused_while_the_store_is_open(mounted: Path, open_again: Callable[[], PosixStore]) -> None:
    with open_again() as store:
        result = subprocess.run(["umount", str(mounted)], capture_output=True, check=False, timeout=60)
        assert result.returncode != 0
        assert store.get("gens/0") == b"0"
