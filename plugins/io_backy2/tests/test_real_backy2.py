"""What the real backy2 2.9.17 backed up and exported is read byte for byte; what it broke is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backy_io_backy2 import open_source
from backy_io_backy2.location import location_of
from backy_io_backy2.settings import Backy2Settings

from backy_core.errors import SourceError
from backy_core.model import Extent

BLOCK = 64 * 1024
Make = Callable[..., "object"]


def content_of(path: Path, data: Path, settings: Backy2Settings | None = None) -> bytes:
    """The whole content, holes taken from the extents alone, the rest in requests that fit no block."""
    with open_source(location_of(str(path), str(data)), settings) as source:
        content = bytearray(source.size)
        for extent in source.data_extents():
            for offset in range(extent.offset, extent.end, 100_003):
                end = min(offset + 100_003, extent.end)
                source.read_into(offset, memoryview(content)[offset:end])
        return bytes(content)


def ext4(path: Path, folder: Path, size: int) -> Path:
    """A real disk image: a file system with files in it, holes between, and a partial last block."""
    path.touch()
    os.truncate(path, size)
    program = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "mkfs.ext4 is missing: apt-get install e2fsprogs"
    subprocess.run([program, "-q", "-F", "-d", str(folder), str(path)], check=True)
    os.truncate(path, size + 4711)
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(20):
        (files / f"file {number}").write_bytes(random.Random(number).randbytes(50_000 * number))
    return ext4(tmp_path / "disk.img", files, 24 * 1024 * 1024)


def test_every_version_of_a_changing_image_is_byte_equal(backy2: Make, image: Path, tmp_path: Path) -> None:
    old = backy2()
    wanted: dict[str, bytes] = {}

    def backup(*options: str) -> str:
        uid = old.backup(image, "vm-1", *options)
        wanted[uid] = image.read_bytes()
        return uid

    backup()
    patch(image, 3 * BLOCK + 5, os.urandom(3 * BLOCK))
    patch(image, 100 * BLOCK, bytes(7 * BLOCK))
    backup("-s", "a snapshot, named")
    os.truncate(image, image.stat().st_size + 3 * BLOCK)  # the once partial block is a whole one now
    patch(image, image.stat().st_size - 10, os.urandom(10))
    base = backup()
    os.truncate(image, image.stat().st_size // 2 + 1)
    backup("-f", base)
    patch(image, 0, os.urandom(2 * BLOCK))
    patch(image, 20 * BLOCK, bytes(BLOCK))
    hints = tmp_path / "hints"
    base = list(wanted)[-1]
    hints.write_text(
        json.dumps(
            [
                {"offset": 0, "length": 2 * BLOCK, "exists": "true"},
                {"offset": 20 * BLOCK, "length": BLOCK, "exists": "false"},
            ]
        )
    )
    backup("-f", base, "-r", str(hints))
    backup()  # nothing changed
    assert len({*wanted.values()}) == 5

    for uid, content in wanted.items():
        export = old.export(uid)
        assert content_of(export, old.data) == content
        with open_source(location_of(str(export), str(old.data)), None) as source:
            assert source.volume == "vm-1"
            assert source.size == len(content)
            assert source.made is not None
            assert timedelta(0) <= datetime.now(UTC) - source.made < timedelta(minutes=10)
            holes = source.size - sum(extent.length for extent in source.data_extents())
            assert holes >= content.count(bytes(4 * BLOCK)) * BLOCK > 0
        restored = tmp_path / "restored.img"
        old.run("restore", "-f" if restored.exists() else "-s", uid, f"file://{restored}")
        assert restored.read_bytes() == content
        restored.unlink()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("zeros", [True, False])
def test_images_of_any_size_are_byte_equal(backy2: Make, tmp_path: Path, size: int, zeros: bool) -> None:
    old = backy2()
    image = tmp_path / "small.img"
    image.write_bytes(bytes(size) if zeros else os.urandom(size))
    export = old.export(old.backup(image, "small"))
    assert content_of(export, old.data) == image.read_bytes()
    with open_source(location_of(str(export), str(old.data)), None) as source:
        assert list(source.data_extents()) == ([] if zeros or not size else [Extent(0, size)])


@pytest.mark.parametrize(("hash", "block"), [("sha256", 4096), ("md5", 4 * 1024 * 1024)])
def test_other_hashes_and_block_sizes_are_read(
    backy2: Make, image: Path, hash: str, block: int, tmp_path: Path
) -> None:
    old = backy2(hash=hash, block=block)
    os.truncate(image, 9_000_000)
    export = old.export(old.backup(image, "vm, \"quoted\", 'and' größer"))
    assert content_of(export, old.data, Backy2Settings(hash=hash)) == image.read_bytes()
    with pytest.raises(SourceError, match="set 'hash' of"):
        open_source(location_of(str(export), str(old.data)), None)
    with open_source(location_of(str(export), str(old.data)), Backy2Settings(hash=hash)) as source:
        assert source.volume == "vm, \"quoted\", 'and' größer"


def test_what_a_scrub_found_is_refused_and_what_it_did_not_look_at_is_found(backy2: Make, image: Path) -> None:
    old = backy2()
    uid = old.backup(image, "vm-1")
    export = old.export(uid)
    blob = sorted(old.data.glob("*/*/*.blob"))[5]
    content = bytearray(blob.read_bytes())
    content[100] ^= 1
    blob.write_bytes(content)
    with pytest.raises(SourceError, match=rf"block \d+ cannot be read: its blob .*{blob.name} does not match"):
        content_of(export, old.data)
    old.run("scrub", uid, code=20)
    again = old.export(uid)
    with pytest.raises(SourceError, match=f"version {uid} .* is marked invalid by backy2"):
        content_of(again, old.data)
    with pytest.raises(SourceError, match=rf"its blob .*{blob.name} does not match"):
        content_of(again, old.data, Backy2Settings(allow_invalid=True))


def test_a_version_whose_backup_was_killed_is_refused(backy2: Make, image: Path) -> None:
    old = backy2(block=4096)
    command = [str(old.program), "-m", "-c", str(old.configuration), "backup", f"file://{image}", "vm-1"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(old.data.glob("*/*/*.blob")):
        assert running.poll() is None, "the backup ended before its first blob"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()
    (uid,) = old.uids()
    with pytest.raises(SourceError, match=f"version {uid} .* is marked invalid by backy2: its backup was interrupted"):
        content_of(old.export(uid), old.data)


def test_an_export_with_messages_in_it_says_what_to_do(backy2: Make, image: Path) -> None:
    old = backy2()
    uid = old.backup(image, "vm-1")
    mixed = old.place / "mixed.csv"
    command = [str(old.program), "-c", str(old.configuration), "export", uid, "-"]
    with mixed.open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    with pytest.raises(SourceError, match=r"is no export of backy2: .* not to standard output"):
        content_of(mixed, old.data)


def test_nothing_of_the_installation_is_changed(backy2: Make, image: Path) -> None:
    old = backy2()
    export = old.export(old.backup(image, "vm-1"))

    def state() -> dict[str, tuple[int, int]]:
        found = {str(path): path.lstat() for path in old.place.rglob("*")}
        return {path: (one.st_mtime_ns, one.st_size) for path, one in found.items()}

    before = state()
    content_of(export, old.data)
    assert state() == before
